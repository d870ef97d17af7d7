"""Signed bundles: what is signed is served, anything else is refused by name, and others can verify it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from gateway import assembly
from gateway.cli import doctor
from gateway.cli.checks import Level
from gateway.cli.main import cli
from gateway.config import Config, ModelSection, load
from gateway.errors import BundleInvalid, ConfigInvalid
from gateway.model import bundle as bundles
from gateway.model import signature, versions
from gateway.registry import promotion
from tests import tiny


class Pair:
    """A key's two files."""

    def __init__(self, folder: Path, name: str, encryption: KeySerializationEncryption | None = None) -> None:
        made = Ed25519PrivateKey.generate()
        self.private, self.public = folder / f"{name}.pem", folder / f"{name}.pub"
        self.private.write_bytes(made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption()))
        self.public.write_bytes(made.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy of it, to be signed."""
    return Path(shutil.copytree(made, tmp_path / "tiny"))


@pytest.fixture
def ours(tmp_path: Path) -> Pair:
    return Pair(tmp_path, "ours")


def models(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["models", *map(str, arguments)])


def signed(folder: Path, pair: Pair) -> Result:
    return models("sign", folder, "--key", pair.private)


def test_what_a_trusted_key_has_signed_is_loaded(folder: Path, ours: Pair, tmp_path: Path) -> None:
    theirs = Pair(tmp_path, "theirs")
    assert signed(folder, ours).output == f"tiny/1 is signed: {folder / 'manifest.sig'}\n"
    assert bundles.load(folder, [theirs.public, ours.public]).id == "tiny/1"
    found = models("verify", folder, "--key", theirs.public, "--key", ours.public)
    assert (found.exit_code, "files are what was signed" in found.output) == (0, True)


def test_what_is_unsigned_or_signed_by_another_is_refused(folder: Path, ours: Pair, tmp_path: Path) -> None:
    with pytest.raises(BundleInvalid, match=r"tiny is not signed: it has no manifest\.sig.*gateway models sign"):
        bundles.load(folder, [ours.public])
    signed(folder, Pair(tmp_path, "theirs"))
    with pytest.raises(BundleInvalid, match=r"manifest\.sig is no signature of this manifest by .*ours\.pub"):
        bundles.load(folder, [ours.public])
    assert models("verify", folder, "--key", ours.public).exit_code == 4
    assert bundles.load(folder).id == "tiny/1"  # whom nobody asks need not sign


def test_a_manifest_that_was_changed_is_refused_before_it_is_parsed(folder: Path, ours: Pair) -> None:
    signed(folder, ours)
    manifest = folder / bundles.MANIFEST
    for changed in (manifest.read_bytes() + b"\n", b"{", b""):
        manifest.write_bytes(changed)
        with pytest.raises(BundleInvalid, match="is no signature of this manifest"):
            bundles.load(folder, [ours.public])


def test_a_file_that_was_changed_is_refused_though_the_manifest_is_signed(folder: Path, ours: Pair) -> None:
    signed(folder, ours)
    with (folder / "int8.onnx").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(BundleInvalid, match=r"int8\.onnx was changed"):
        bundles.load(folder, [ours.public])


@pytest.mark.parametrize("content", [b"", b"\0" * 64, b"x" * 10_000])
def test_garbage_is_no_signature(folder: Path, ours: Pair, content: bytes) -> None:
    (folder / signature.NAME).write_bytes(content)
    with pytest.raises(BundleInvalid, match="is no signature of this manifest"):
        bundles.load(folder, [ours.public])


def test_a_signature_with_something_behind_it_is_none(folder: Path, ours: Pair) -> None:
    signed(folder, ours)
    path = folder / signature.NAME
    path.write_bytes(path.read_bytes() + b"\n")
    with pytest.raises(BundleInvalid, match="is no signature of this manifest"):
        bundles.load(folder, [ours.public])


def test_a_broken_bundle_is_not_signed(folder: Path, ours: Pair) -> None:
    with (folder / "tokenizer.json").open("ab") as file:
        file.write(b" ")
    found = signed(folder, ours)
    assert (found.exit_code, "tokenizer.json was changed" in found.output) == (2, True)
    assert not (folder / signature.NAME).exists()


def test_wrong_keys_are_refused_by_name(folder: Path, ours: Pair, tmp_path: Path) -> None:
    elliptic = tmp_path / "elliptic.pub"
    elliptic.write_bytes(
        generate_private_key(SECP256R1()).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    locked = Pair(tmp_path, "locked", BestAvailableEncryption(b"secret"))
    for key, problem in ((tmp_path / "absent", "cannot be read"), (elliptic, "another kind"), (ours.private, "public")):
        with pytest.raises(ConfigInvalid, match=rf"{key.name}: .*{problem}"):
            bundles.load(folder, [key])
    for key, problem in ((ours.public, "holds no private key"), (locked.private, "is encrypted")):
        found = models("sign", folder, "--key", key)
        assert (found.exit_code, problem in found.output) == (2, True)


def test_only_what_is_signed_is_served(folder: Path, ours: Pair) -> None:
    config = Config(model=ModelSection(bundle=folder, trusted_keys=(ours.public,)))
    assert doctor.guarded("bundle", lambda: doctor.bundle(config.model)).level is Level.FAIL
    with pytest.raises(BundleInvalid, match="is not signed"):
        assembly.load_engine(config)
    signed(folder, ours)
    assert assembly.load_engine(config).bundle.id == "tiny/1"
    assert "complete, signed" in doctor.bundle(config.model).found


def test_the_promoted_version_is_signed(made: Path, ours: Pair, tmp_path: Path) -> None:
    place = tmp_path / "models"
    shutil.copytree(made, place / "1")
    promotion.record(place, promotion.event("promote", "1", versions.manifest_sha256(place / "1")))
    assert signed(place, ours).exit_code == 0
    assert versions.load(place, [ours.public]).folder == place / "1"


def test_trusted_keys_come_from_the_environment_too() -> None:
    found = load(environment={"GATEWAY_MODEL__TRUSTED_KEYS": "a.pub, b.pub"}).model.trusted_keys
    assert found == (Path("a.pub"), Path("b.pub"))
    for empty in ("", " , "):
        with pytest.raises(ConfigInvalid, match="names no file"):
            load(environment={"GATEWAY_MODEL__TRUSTED_KEYS": empty})


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_openssl_verifies_it(folder: Path, ours: Pair) -> None:
    signed(folder, ours)
    command = ["openssl", "pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", str(ours.public)]
    command += ["-in", str(folder / bundles.MANIFEST), "-sigfile", str(folder / signature.NAME)]
    assert subprocess.run(command, check=False, capture_output=True).returncode == 0
    (folder / bundles.MANIFEST).write_bytes(b"{}")
    assert subprocess.run(command, check=False, capture_output=True).returncode != 0
