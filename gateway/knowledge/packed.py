"""Files with a known sha256, and arrays end to end in one of them, which is mapped as a whole."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Layout = dict[str, tuple[str, list[int], int]]
"""Of each array its dtype, its shape, and the byte at which it begins."""
Write = Callable[[bytes | memoryview], None]
ALIGNMENT = 64
"""Bytes."""
PIECE = 1 << 20
"""Bytes that are written together; others go on between."""
UNSYNCED = 8 << 20
"""Bytes after which they are sent to the disk: all of a large file at once would hold up the log's own syncs."""


def written(path: Path, give: Callable[[Write], None], go_on: Callable[[], None] = lambda: None) -> str:
    """A new file of all that `give` writes with the function that it is given. Its sha256, once it is on the disk: of
    what was meant, not of what a disk has made of it. Raises OSError, and what `go_on` raises, which is called before
    each piece."""
    digest, unsynced = hashlib.sha256(), 0
    with path.open("xb") as file:

        def write(piece: bytes | memoryview) -> None:
            nonlocal unsynced
            go_on()
            digest.update(piece)
            file.write(piece)
            unsynced += len(piece)
            if unsynced >= UNSYNCED:
                sync()

        def sync() -> None:
            nonlocal unsynced
            file.flush()
            os.fdatasync(file.fileno())
            unsynced = 0

        give(write)
        sync()
    return digest.hexdigest()


def is_sound(path: Path, sha256: str) -> bool:
    """Whether it is as it was written. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == sha256


def layout(arrays: Mapping[str, Array]) -> Layout:
    """Where each of them lies in a file that `pack` writes."""
    found: Layout = {}
    end = 0
    for name, array in arrays.items():
        at = -(-end // ALIGNMENT) * ALIGNMENT
        found[name] = array.dtype.str, list(array.shape), at
        end = at + array.nbytes
    return found


def pack(arrays: Mapping[str, Array], write: Write) -> None:
    end = 0
    for (_, _, at), array in zip(layout(arrays).values(), arrays.values(), strict=True):
        write(bytes(at - end))
        content = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
        for start in range(0, len(content), PIECE):
            write(content[start : start + PIECE])
        end = at + array.nbytes


def unpacked(path: Path, where: Layout) -> dict[str, Array]:
    """Mapped, not read: memory that the kernel can take back. Raises OSError, ValueError."""
    whole = np.memmap(path, np.uint8, "r")
    found = {}
    for name, (dtype, shape, at) in where.items():
        size = np.dtype(dtype).itemsize * int(np.prod(shape))
        found[name] = np.asarray(whole[at : at + size]).view(dtype).reshape(shape)
    return found
