"""Who made a bundle: an Ed25519 signature of its manifest's bytes, in a file beside it.

The manifest vouches for every other file, so that the whole bundle is signed by it. Keys are PEM files and the
signature is the plain 64 bytes of RFC 8032, so that others verify it, too:

    openssl pkeyutl -verify -rawin -pubin -inkey KEY -in manifest.json -sigfile manifest.sig
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from gateway.errors import BundleInvalid, ConfigInvalid

NAME = "manifest.sig"
BYTES = 64
HOW = "openssl genpkey -algorithm ed25519 -out FILE makes one"
HOW_PUBLIC = "openssl pkey -in PRIVATE -pubout -out FILE makes one"


def sign(folder: Path, manifest: bytes, key: Path) -> Path:
    """Write the signature of those bytes by the private key in `key`. Returns its file. Raises ConfigInvalid."""
    path = folder / NAME
    signature = _private(key).sign(manifest)
    try:
        path.write_bytes(signature)
    except OSError as error:
        raise ConfigInvalid(f"{path}: cannot be written ({error.strerror})") from None
    return path


def check(folder: Path, manifest: bytes, trusted: Sequence[Path]) -> Path:
    """The file among `trusted` whose public key has signed those bytes.

    Raises BundleInvalid where none has, ConfigInvalid for a file that holds no such key.
    """
    keys = {path: _public(path) for path in trusted}
    path, again = folder / NAME, f"if it is as it should be, sign it: gateway models sign {folder} --key FILE"
    try:
        with path.open("rb") as file:
            signature = file.read(BYTES + 1)
    except FileNotFoundError:
        raise BundleInvalid(
            f"{folder} is not signed: it has no {NAME}, which model.trusted_keys asks for; {again}"
        ) from (None)
    except OSError as error:
        raise BundleInvalid(f"{path}: cannot be read ({error.strerror})") from None
    for name, key in keys.items():
        try:
            key.verify(signature, manifest)
        except InvalidSignature:
            continue
        return name
    raise BundleInvalid(
        f"{path} is no signature of this manifest by {' or '.join(map(str, keys))}: "
        f"somebody else has signed it, or it was changed since; {again}"
    )


def _private(path: Path) -> Ed25519PrivateKey:
    try:
        found = load_pem_private_key(_pem(path), password=None)
    except TypeError:
        raise ConfigInvalid(
            f"{path}: is encrypted; openssl pkey -in {path} -out FILE takes the password off, for as long as you sign"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigInvalid(f"{path}: holds no private key in PEM; {HOW}") from None
    if not isinstance(found, Ed25519PrivateKey):
        raise ConfigInvalid(f"{path}: is a key of another kind than Ed25519; {HOW}")
    return found


def _public(path: Path) -> Ed25519PublicKey:
    try:
        found = load_pem_public_key(_pem(path))
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigInvalid(f"{path}: holds no public key in PEM; {HOW_PUBLIC}") from None
    if not isinstance(found, Ed25519PublicKey):
        raise ConfigInvalid(f"{path}: is a key of another kind than Ed25519; {HOW}, and {HOW_PUBLIC}")
    return found


def _pem(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigInvalid(f"{path}: cannot be read ({error.strerror})") from None
