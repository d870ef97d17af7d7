"""What every store is given: passages with their tenants and rights, questions, and writes. Kept as files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float32]
Numbers = NDArray[np.int64]

GROUPS = ("all", "some-10", "some-1", "some-0.1", "about-10", "about-1", "about-0.1")
"""With the percentage of passages that their members may read: `some` at random, `about` all by their subject."""
EVERYTHING = "all"
TOP = 10
VECTORS, NEW, ROWS, ASKED = "vectors.npy", "new.npy", "rows.npy", "asked.json"


@dataclass(frozen=True, slots=True)
class Asked:
    """Questions that members of one group ask, each as one of the tenants. Their vectors are in a file of that name."""

    name: str
    group: str
    tenants: list[int]


@dataclass(frozen=True, slots=True)
class World:
    """`tenants` [passages], and `rights` [passages]: a bit for each of GROUPS. `written` are the passages that get the
    vectors of NEW one after the other; `alone` so many of them before there are questions between."""

    folder: Path
    tenants: Numbers
    rights: Numbers
    asked: tuple[Asked, ...]
    written: list[int]
    alone: int

    def vectors(self) -> Matrix:
        """[passages, dim], as they are at first; mapped, so that it is no store's memory for longer than it is used."""
        return _mapped(self.folder / VECTORS)

    def new(self) -> Matrix:
        return _mapped(self.folder / NEW)

    def questions(self, asked: Asked) -> Matrix:
        found: Matrix = np.load(self.folder / f"{asked.name}.npy")
        return found

    def groups(self, number: int) -> list[str]:
        """Whose members may read the passage."""
        return [name for at, name in enumerate(GROUPS) if self.rights[number] >> at & 1]

    def permitted(self, group: str) -> NDArray[np.bool_]:
        """[passages]"""
        return (self.rights >> GROUPS.index(group) & 1).astype(bool)

    def save(self, vectors: Matrix, new: Matrix, questions: Sequence[Matrix]) -> None:
        np.save(self.folder / VECTORS, vectors)
        np.save(self.folder / NEW, new)
        np.save(self.folder / ROWS, np.stack([self.tenants, self.rights]))
        for asked, rows in zip(self.asked, questions, strict=True):
            np.save(self.folder / f"{asked.name}.npy", rows)
        told = {"asked": [asdict(one) for one in self.asked], "written": self.written, "alone": self.alone}
        (self.folder / ASKED).write_text(json.dumps(told))

    @classmethod
    def load(cls, folder: Path) -> World:
        tenants, rights = np.load(folder / ROWS)
        told = json.loads((folder / ASKED).read_text())
        asked = tuple(Asked(**one) for one in told["asked"])
        return cls(folder, tenants, rights, asked, told["written"], told["alone"])


def _mapped(path: Path) -> Matrix:
    found: Matrix = np.load(path, mmap_mode="r")
    return found
