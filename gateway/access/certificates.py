"""Certificates and keys in PEM files: read, checked before anybody serves by them, and how long they last."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from gateway.errors import ConfigInvalid


@dataclass(frozen=True, slots=True, repr=False)
class Identity:
    """What a server shows of itself: its chain and `key` in PEM, and when the first certificate, its own, ends, in
    seconds since 1970. `client_ca` in PEM: who has to have signed a client's certificate, and when the first of them
    ends; None where clients show none."""

    chain: bytes
    key: bytes
    not_after: float
    client_ca: bytes | None = None
    client_ca_not_after: float | None = None


def read_identity(certificate: Path, key: Path, client_ca: Path | None = None) -> Identity:
    """Raises ConfigInvalid for what cannot be read, a key of another certificate, and one that does not hold now."""
    chain, secret = _bytes(certificate), _bytes(key)
    own = _certificates(certificate, chain)[0]
    _check_pair(own, certificate, secret, key)
    _check_time(own, certificate)
    if client_ca is None:
        return Identity(chain, secret, _not_after(own))
    signers = _bytes(client_ca)
    first = min(map(_not_after, _certificates(client_ca, signers)))
    return Identity(chain, secret, _not_after(own), signers, first)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigInvalid(f"{path}: cannot be read ({error.strerror})") from None


def _certificates(path: Path, pem: bytes) -> Sequence[x509.Certificate]:
    """One at least."""
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise ConfigInvalid(f"{path}: holds no certificate in PEM, or a broken one") from None


def _check_pair(own: x509.Certificate, certificate: Path, secret: bytes, key: Path) -> None:
    # What these say of a key is not repeated: nothing of it may get into a log.
    try:
        private = serialization.load_pem_private_key(secret, password=None)
    except TypeError:
        raise ConfigInvalid(f"{key}: is encrypted, and nobody is there to be asked; decrypt it") from None
    except Exception:  # noqa: BLE001  # of several libraries, by what is wrong with it
        raise ConfigInvalid(f"{key}: holds no private key in PEM, or a broken one") from None
    form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    if private.public_key().public_bytes(*form) != own.public_key().public_bytes(*form):
        raise ConfigInvalid(f"{key}: is not the key of {certificate}; the server's own certificate comes first there")


def _check_time(own: x509.Certificate, certificate: Path) -> None:
    now = time.time()
    if now > _not_after(own):
        raise ConfigInvalid(f"{certificate}: has expired on {own.not_valid_after_utc:%Y-%m-%d %H:%M} UTC; renew it")
    if now < own.not_valid_before_utc.timestamp():
        raise ConfigInvalid(f"{certificate}: holds from {own.not_valid_before_utc:%Y-%m-%d %H:%M} UTC on; is it now?")


def _not_after(certificate: x509.Certificate) -> float:
    return certificate.not_valid_after_utc.timestamp()
