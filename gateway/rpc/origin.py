"""Which bundle serves, which served before it, and whether that one can still be served again. Imports no gRPC."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gateway.errors import BundleInvalid
from gateway.model import versions


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a bundle was loaded from, and the sha256 of its manifest, which vouches for every other file there."""

    folder: Path
    sha256: str

    @classmethod
    def of(cls, folder: Path, sha256: str) -> Origin:
        return cls(located(folder), sha256)

    def changed(self, found: str) -> BundleInvalid:
        """What to say where the folder now holds the manifest `found` instead."""
        return BundleInvalid(
            f"{self.folder}: is not what was served before: the sha256 of its manifest was {self.sha256[:12]}... and "
            f"is {found[:12]}... now. Restore its files, or serve what is there with `gateway swap {self.folder}`"
        )


def located(folder: Path) -> Path:
    """Where it is, whatever it is called: a link that points elsewhere tomorrow is no way back, and neither is a folder
    of versions, of which another one may be promoted then. Raises BundleInvalid as `versions.serving`."""
    return versions.serving(folder).resolve()


class WayBack:
    """The bundle that was served before the one that serves now."""

    def __init__(self) -> None:
        self._before: Origin | None = None

    def swapped(self, before: Origin, now: Origin) -> None:
        """`now` serves in the place of `before`. The same bundle loaded again leaves the way back as it was."""
        if before != now:
            self._before = before

    def origin(self) -> Origin:
        """Raises BundleInvalid if there is none."""
        if self._before is None:
            raise BundleInvalid(
                "no other bundle was served before this one since the server has started; name one: `gateway swap DIR`"
            )
        return self._before
