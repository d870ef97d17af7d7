"""`gateway models sign` and `verify`: who made a bundle, for gateways that ask (model.trusted_keys)."""

from __future__ import annotations

from pathlib import Path

import click

from gateway.cli.main import Refused
from gateway.errors import BundleInvalid
from gateway.model import bundle as bundles
from gateway.model import signature, versions

FOLDER = click.Path(path_type=Path, file_okay=False)
FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument("folder", type=FOLDER)
@click.option("--key", type=FILE, required=True, help="Ed25519 private key in PEM.")
def sign(folder: Path, key: Path) -> None:
    """Sign the bundle in FOLDER, or the promoted one of a folder of versions, once every file of it is what its
    manifest says.

    A key is made by `openssl genpkey -algorithm ed25519 -out FILE`, what gateways are given of it by `openssl pkey -in
    FILE -pubout`. Whatever writes the manifest anew (certify, recalibrate) has it signed anew.
    """
    bundle = versions.load(folder)
    manifest = bundle.path(bundles.MANIFEST).read_bytes()
    if bundles.digest_of(manifest) != bundle.manifest_sha256:
        raise Refused(f"{bundle.folder}: the manifest was changed meanwhile; try again")
    click.echo(f"{bundle.id} is signed: {signature.sign(bundle.folder, manifest, key)}")


@click.command()
@click.argument("folder", type=FOLDER)
@click.option(
    "--key", "keys", type=FILE, required=True, multiple=True, help="Ed25519 public key in PEM; may be repeated."
)
def verify(folder: Path, keys: tuple[Path, ...]) -> None:
    """Whether one of the keys has signed the bundle in FOLDER, and every file of it is what its manifest says: exit
    code 4 where not."""
    try:
        bundle = versions.load(folder, keys)
    except BundleInvalid as error:
        raise Refused(str(error)) from None
    click.echo(f"{bundle.id}: {len(bundle.manifest.files)} files are what was signed")
