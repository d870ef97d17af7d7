"""The file of callers: API keys, of which it holds hashes alone, and names in certificates; and what each may do."""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
import re
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_serializer,
    field_validator,
    model_validator,
)

from gateway.access.grants import ANY, Grant, Scope
from gateway.disk import sync
from gateway.errors import ConfigInvalid
from gateway.types import Criticality

PREFIX = "gw_"
"""Of every API key, so that it is known for one where it has been left."""
SECRET_BYTES = 24
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


class Entry(BaseModel):
    """One caller: of an API key, whose sha256 is kept, or of a certificate, by the name in it (a DNS name, or a URI as
    SPIFFE's)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    name: Annotated[str, Field(min_length=1, max_length=100)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    certificate_name: Annotated[str, Field(min_length=1, max_length=2048)] | None = None
    scopes: Annotated[frozenset[Scope], Field(min_length=1)]
    tenants: Annotated[tuple[str, ...], Field(min_length=1)]
    groups: frozenset[str] = frozenset()
    criticality: Criticality = Criticality.CRITICAL
    created: AwareDatetime
    expires: AwareDatetime | None = None
    revoked: AwareDatetime | None = None

    @field_serializer("scopes", "groups")
    def _in_order(self, given: frozenset[str]) -> list[str]:
        return sorted(given)

    @field_validator("tenants", "groups")
    @classmethod
    def _are_names(cls, given: tuple[str, ...] | frozenset[str]) -> tuple[str, ...] | frozenset[str]:
        for one in given:
            if one != ANY and not NAME.fullmatch(one):
                raise ValueError(f"{one!r} is neither {ANY!r} nor 1 to 63 letters, digits, '.', '_' or '-'")
        return given

    @model_validator(mode="after")
    def _is_one_of_both(self) -> Self:
        if (self.sha256 is None) == (self.certificate_name is None):
            raise ValueError(f"{self.id} needs either sha256 or certificate_name")
        return self

    def grant(self) -> Grant:
        ends = math.inf if self.expires is None else self.expires.timestamp()
        return Grant(f"{self.name} ({self.id})", self.scopes, self.tenants, self.groups, self.criticality, ends)

    def state(self, now: float) -> str:
        """`active`, `expired` or `revoked`."""
        if self.revoked is not None:
            return "revoked"
        return "expired" if self.expires is not None and self.expires.timestamp() <= now else "active"


class Content(BaseModel):
    """Of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    callers: tuple[Entry, ...] = ()

    @model_validator(mode="after")
    def _nobody_is_there_twice(self) -> Self:
        for what in ("id", "sha256", "certificate_name"):
            seen = [found for one in self.callers if (found := getattr(one, what)) is not None and not one.revoked]
            if len(set(seen)) < len(seen):
                raise ValueError(f"two callers have the same {what}")
        return self


@dataclass(frozen=True, slots=True)
class Callers:
    """Those that are not revoked: by the sha256 of their key, and by the name in their certificate."""

    by_digest: Mapping[bytes, Grant]
    by_name: Mapping[str, Grant]


def digest_of(key: str) -> bytes:
    """A key is random, so one round of a plain hash is as good as many: nobody can guess through it."""
    return hashlib.sha256(key.encode(errors="replace")).digest()


def callers_in(path: Path) -> Callers:
    """Raises ConfigInvalid."""
    found = [one for one in read(path).callers if one.revoked is None]
    return Callers(
        {bytes.fromhex(one.sha256): one.grant() for one in found if one.sha256},
        {one.certificate_name: one.grant() for one in found if one.certificate_name},
    )


def read(path: Path) -> Content:
    """Raises ConfigInvalid."""
    try:
        return Content.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ConfigInvalid(
            f"{path}: cannot be read ({error.strerror}); `gateway keys create --file {path}` makes one"
        ) from None
    except ValidationError as error:
        raise ConfigInvalid(f"{path}: {_problem(error)}") from None


def _problem(error: ValidationError) -> str:
    """Where and what; not what stands there instead, as that may be a key that was pasted."""
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(map(str, first["loc"]))
    return f"{where}: {first['msg'].removeprefix('Value error, ')}" if where else first["msg"]


@contextmanager
def changing(path: Path) -> Iterator[list[Entry]]:
    """The entries of the file, none where it is not there, to be changed: they are written when the `with` ends, whole
    or not at all. One process at a time. Raises ConfigInvalid."""
    folder = path.absolute().parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise ConfigInvalid(f"{folder}: cannot be used ({error.strerror})") from None
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        entries = list(read(path).callers) if path.exists() else []
        yield entries
        _write(path, Content(callers=tuple(entries)))
    finally:
        os.close(held)


def _write(path: Path, content: Content) -> None:
    """For its owner alone where it is new; who may read it already, may do so after."""
    text = json.dumps(content.model_dump(mode="json", exclude_none=True), indent=2) + "\n"
    try:
        descriptor, name = tempfile.mkstemp(dir=path.absolute().parent, prefix=f".{path.name}-")
        begun = Path(name)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                _give_rights(path, descriptor)
                file.write(text)
                file.flush()
                os.fsync(descriptor)
            begun.replace(path)
        finally:
            begun.unlink(missing_ok=True)
        sync(path.absolute().parent)
    except OSError as error:
        raise ConfigInvalid(f"{path}: cannot be written ({error.strerror})") from None


def _give_rights(path: Path, descriptor: int) -> None:
    """Those of the file at `path`, if there is one."""
    if path.exists():
        there = path.stat()
        os.fchmod(descriptor, there.st_mode & 0o777)
        if (there.st_uid, there.st_gid) != (os.geteuid(), os.getegid()):
            os.fchown(descriptor, there.st_uid, there.st_gid)


def new_id(entries: list[Entry]) -> str:
    """That none of them has."""
    taken = {one.id for one in entries}
    while (found := secrets.token_hex(4)) in taken:
        pass
    return found


def new_key(key_id: str) -> str:
    """192 random bits, behind what names it."""
    return f"{PREFIX}{key_id}_{secrets.token_urlsafe(SECRET_BYTES)}"


def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)
