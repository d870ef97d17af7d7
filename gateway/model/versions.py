"""A folder of versions of one bundle, and `registry.json` in it, which says which of them serves and how that came.

It is the last event of a history that only grows: whoever promotes or rolls back appends one (see
`registry/promotion.py`). What is promoted is a manifest's sha256, so a version that was changed since is not it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator

from gateway.errors import BundleInvalid
from gateway.model import bundle as bundles
from gateway.model.bundle import MANIFEST, Bundle
from gateway.model.certificate import Part, wrong_in

FORMAT: Literal[1] = 1
NAME = "registry.json"
Action = Literal["promote", "rollback"]
Outcome = Literal["passed", "failed", "waived", "skipped"]


class Gate(Part):
    """What was asked of a version before it was promoted, and what came of it. "waived": somebody said that it need not
    hold; "skipped": there was nothing to ask it with."""

    name: str
    outcome: Outcome
    detail: str


class Event(Part):
    """`version` serves from `at` on (ISO 8601, UTC), by decision of `by`. `forced`: although a gate failed."""

    at: str
    action: Action
    version: Annotated[str, Field(pattern=r"^[^./][^/]*$")]
    manifest_sha256: str
    by: str
    why: str = ""
    forced: bool = False
    server: str = ""
    gates: tuple[Gate, ...] = ()


class Registry(Part):
    """`registry.json`. `current` is the version of the last event, for whoever reads the file by other means."""

    format: Literal[1] = FORMAT
    current: str
    history: tuple[Event, ...]

    @model_validator(mode="after")
    def _ends_with_the_current_one(self) -> Self:
        if not self.history or self.history[-1].version != self.current:
            raise ValueError("current is not the version of the last event in history")
        return self

    @property
    def now(self) -> Event:
        return self.history[-1]

    def before(self) -> Event | None:
        """What a rollback goes back to: promoting puts a version on a stack, and rolling back takes it off again. One
        that was certified anew and promoted again stands there once, as it is now."""
        stack: list[Event] = []
        for event in self.history:
            if event.action == "promote":
                if stack and stack[-1].version == event.version:
                    stack.pop()
                stack.append(event)
            elif stack:
                stack.pop()
        return stack[-2] if len(stack) > 1 else None

    def followed_by(self, event: Event) -> Registry:
        return Registry(current=event.version, history=(*self.history, event))


def read(folder: Path) -> Registry | None:
    """What `folder` says; None where nothing was ever promoted. Raises BundleInvalid for a file that is damaged."""
    path = folder / NAME
    try:
        return Registry.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BundleInvalid(f"{path}: {error}") from error
    except ValidationError as error:
        raise BundleInvalid(
            f"{path}: not a registry of format {FORMAT}: {wrong_in(error)}. Put back a copy, or delete it and promote "
            f"what is to serve: gateway models promote {folder}/VERSION"
        ) from error


def serving(folder: Path) -> Path:
    """The bundle that `folder` means: the folder itself, or the promoted one where it is a folder of versions.

    A folder that is neither is returned as it is, for the loader to say so. Raises BundleInvalid where nothing is
    promoted, where the promoted version is missing, or where it was changed since.
    """
    if (folder / MANIFEST).exists():
        return folder
    found = read(folder)
    if found is None:
        if versions := names(folder):
            raise BundleInvalid(
                f"{folder} holds versions ({', '.join(versions)}), of which none is promoted: gateway models promote "
                f"{folder}/{versions[-1]}, or name that folder"
            )
        return folder
    check(folder, found.now)
    return folder / found.current


def load(folder: Path, trusted: Sequence[Path] = ()) -> Bundle:
    """The bundle that `folder` means; see `serving` and `bundle.load`. Raises BundleInvalid."""
    return bundles.load(serving(folder), trusted)


def check(folder: Path, event: Event) -> None:
    """BundleInvalid unless the version of `event` lies in `folder` as it was promoted."""
    version = folder / event.version
    sha256 = manifest_sha256(version)
    if not sha256:
        raise BundleInvalid(
            f"{version} was promoted on {event.at} and has no {MANIFEST} any more: put it back, or serve another: "
            f"gateway models promote {folder}/VERSION"
        )
    if sha256 != event.manifest_sha256:
        raise BundleInvalid(
            f"{version} was changed since it was promoted on {event.at}: the sha256 of its {MANIFEST} was "
            f"{event.manifest_sha256[:12]}... and is {sha256[:12]}... now. Put it back, or promote it as it is: "
            f"gateway models promote {version}"
        )


def names(folder: Path) -> list[str]:
    """The versions that lie in `folder`, numbers in their order."""
    if not folder.is_dir():
        return []
    found = [one.name for one in folder.iterdir() if not one.name.startswith(".") and (one / MANIFEST).is_file()]
    return sorted(found, key=_order)


def manifest_sha256(folder: Path) -> str:
    """Of the bundle in `folder`, whose every other file the manifest vouches for; empty where there is none."""
    try:
        return hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()
    except (FileNotFoundError, NotADirectoryError):
        return ""


def _order(version: str) -> tuple[tuple[int, int, str], ...]:
    """Of 2 before 10, and of 1 before 1.1."""
    parts = version.replace("-", ".").split(".")
    return tuple((0, int(one), "") if one.isdecimal() else (1, 0, one) for one in parts)
