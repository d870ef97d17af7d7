"""What an answer is called, which of them are drawn for audit, and what stands for a question's text."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

from gateway.errors import ConfigInvalid

KEY_FILE = "key"
KEY_BYTES = 32
LONGEST_KEY = 64
"""Bytes that BLAKE2b takes."""

_NAME_BYTES, _TAG_BYTES, _DRAW_BYTES = 12, 8, 8
ID_LENGTH = 2 * (_NAME_BYTES + _TAG_BYTES)
"""Hexadecimal digits."""


class Mark(NamedTuple):
    """`id` names an answer. `is_drawn` for audit, as it is with probability `propensity`."""

    id: str
    is_drawn: bool
    propensity: float


class Marker:
    """Gives marks, and knows its own again. From any thread.

    An id is the millisecond, six random bytes, and a tag: BLAKE2b with the key, over those and the tenant. So whoever
    has the key knows, without looking anything up, that an id was given, and to which tenant; nobody else can make one.
    Whether an answer is drawn is decided by the rest of the same hash, and so can be checked afterwards: with the key
    anybody can see that nothing but chance has picked the sample.
    """

    def __init__(
        self,
        key: bytes,
        share: float,
        chance: Callable[[int], int] | None = None,
    ) -> None:
        """`share` of the answers is drawn, 0 to 1. `chance` gives that many random bits; None: its own does."""
        self.share = share
        self._key = key
        self._hash = blake2b(digest_size=_TAG_BYTES + _DRAW_BYTES, key=key, person=b"answer")
        self._chance = chance or random.Random().getrandbits  # noqa: S311  # no secret: the tag is
        self._below = _below(share)

    def mark(self, tenant: str, at: float) -> Mark:
        """Of the tenant's answer at that time, in seconds since 1970."""
        name = int(at * 1000).to_bytes(6, "big") + self._chance(48).to_bytes(6, "big")
        tag, drawn = self._tagged(name, tenant)
        return Mark((name + tag).hex(), drawn < self._below, self.share)

    def is_given_to(self, tenant: str, answer_id: str) -> bool:
        """Whether that id is of an answer to that tenant."""
        try:
            given = bytes.fromhex(answer_id)
        except ValueError:
            return False
        if len(answer_id) != ID_LENGTH or answer_id != given.hex():
            return False
        return self._tagged(given[:_NAME_BYTES], tenant)[0] == given[_NAME_BYTES:]

    def is_drawn(self, tenant: str, answer_id: str, propensity: float) -> bool:
        """Whether chance has drawn that answer, where so large a share was drawn."""
        name = bytes.fromhex(answer_id)[:_NAME_BYTES]
        return self._tagged(name, tenant)[1] < _below(propensity)

    def text_hash(self, tenant: str, text: str) -> str:
        """Stands for a text: the same for the same text of the same tenant, and without the key nothing can be told
        from it, not even by trying likely texts."""
        return blake2b(
            f"{tenant}\0{text}".encode("utf-8", "surrogatepass"), digest_size=16, key=self._key, person=b"text"
        ).hexdigest()

    def _tagged(self, name: bytes, tenant: str) -> tuple[bytes, int]:
        begun = self._hash.copy()
        begun.update(name + tenant.encode())
        digest = begun.digest()
        return digest[:_TAG_BYTES], int.from_bytes(digest[_TAG_BYTES:], "big")


def _below(share: float) -> int:
    """That share of all numbers of _DRAW_BYTES is below it."""
    return round(share * (1 << 8 * _DRAW_BYTES))


def time_of(answer_id: str) -> float:
    """When the answer was given, in seconds since 1970, to the millisecond. Raises ValueError for what is no id."""
    if len(answer_id) != ID_LENGTH:
        raise ValueError(f"{answer_id!r} is no id of an answer: those have {ID_LENGTH} hexadecimal digits")
    return int(answer_id[:12], 16) / 1000


def key_of(folder: Path, named: Path | None) -> bytes:
    """The key that is `named`, or else the folder's own, which is made at the first start. Raises ConfigInvalid."""
    path = named or folder / KEY_FILE
    try:
        if named is None:
            _make(path)
        key = path.read_bytes()
    except OSError as error:
        raise ConfigInvalid(f"audit.key: {path}: cannot be read or made ({error.strerror})") from None
    if not KEY_BYTES <= len(key) <= LONGEST_KEY:
        raise ConfigInvalid(
            f"audit.key: {path}: has {len(key)} bytes; {KEY_BYTES} to {LONGEST_KEY} random ones make a key: "
            f"head -c {KEY_BYTES} /dev/urandom > {path}"
        )
    return key


def _make(path: Path) -> None:
    """Once, whoever else makes it now: it is whole under its name, or not there."""
    if path.exists():
        return
    begun = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(begun, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(descriptor, os.urandom(KEY_BYTES))
        os.fsync(descriptor)
        os.link(begun, path)
    except FileExistsError:
        pass
    finally:
        os.close(descriptor)
        begun.unlink()
