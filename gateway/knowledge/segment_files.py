"""Segments on disk: what a start would have to make again. A cache and no more; the store is the truth.

A segment is a folder of arrays, named by the sha256 of its manifest, which has the sha256 of each of them: nothing is
used unless all of it is as it was written. Arrays are mapped, not read: memory that the kernel can take back. Texts are
not in it, and rights neither: those are the store's of this moment. Its graph comes later, when a gateway is stopped:
hnswlib holds the interpreter while it writes or reads one, a second for a million passages, and no question waits then.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.knowledge import failpoints
from gateway.knowledge.changes import Stored
from gateway.knowledge.generation import Part
from gateway.knowledge.lexical import LexicalIndex
from gateway.knowledge.segment import Segment
from gateway.knowledge.vectors import GRAPH_VERSION, VectorIndex
from gateway.types import Document

log = logging.getLogger(__name__)

FOLDER = "segments"
MANIFEST, GRAPH, GRAPH_MANIFEST = "manifest.json", "graph.bin", "graph.json"
FORMAT = 1
LEAST_LIVE = 0.5
"""Of a segment's documents: one of which less counts is not used."""
OLD_SECONDS = 3600.0
"""Folders that nobody has used for so long go: another process may be about to."""
CHUNK = 8 << 20
NOBODY = frozenset({"\0"})
"""Who may read what does not count any more: no caller's group has such a name."""

Place = tuple[str, str]
Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Kept:
    """A folder whose manifest is sound."""

    folder: Path
    place: Place
    digests: Mapping[str, str]
    rows: int


class SegmentFiles:
    """Of one store, as one encoder and one way to divide documents have made them (`made`)."""

    def __init__(self, folder: Path, made: str) -> None:
        self._folder = folder / FOLDER
        self._made = made
        self._kept: dict[Place, list[Kept]] | None = None

    # -- reading ------------------------------------------------------------------------------------------------------

    def parts(self, place: Place, documents: Mapping[int, Document]) -> tuple[list[Part], list[Stored]]:
        """What is kept of these documents, by their versions, and those of them that are in none of it."""
        left = dict(documents)
        parts = []
        for kept in sorted(self._found().get(place, ()), key=lambda one: -one.rows):
            part = self._part(kept, left) if left else None
            if part is not None:
                parts.append(part)
                for version in part.segment.versions.tolist():
                    left.pop(version, None)
        return parts, [Stored(document, version) for version, document in left.items()]

    def _found(self) -> dict[Place, list[Kept]]:
        if self._kept is None:
            self._kept = {}
            for folder in sorted(self._folder.glob("*/")):
                if (kept := self._manifest(folder)) is not None:
                    self._kept.setdefault(kept.place, []).append(kept)
        return self._kept

    def _manifest(self, folder: Path) -> Kept | None:
        """None for one of another encoder, or not sound."""
        try:
            content = (folder / MANIFEST).read_bytes()
            if hashlib.sha256(content).hexdigest() != folder.name:
                return None
            given = json.loads(content)
            if (given["format"], given["made"]) != (FORMAT, self._made):
                return None
            tenant, collection = given["place"]
            return Kept(folder, (tenant, collection), given["files"], given["rows"])
        except (OSError, ValueError, KeyError):
            return None

    def _part(self, kept: Kept, documents: Mapping[int, Document]) -> Part | None:
        """None where too little of it counts, or anything is not as it was written."""
        try:
            versions = _read(kept, "versions").tolist()
            alive = np.array([version in documents for version in versions], bool)
            if alive.mean() < LEAST_LIVE:
                return None
            arrays = {name: _read(kept, name) for name in kept.digests}
            index = VectorIndex.kept(arrays["vectors"], _graph(kept.folder, len(arrays["vectors"])))
            segment = Segment.of(
                [documents.get(version) or _gone(version) for version in versions],
                versions,
                arrays["spans"],
                arrays["lengths"].tolist(),
                index,
                arrays["titles"],
                LexicalIndex.kept({name.removeprefix("words_"): one for name, one in arrays.items()}),
                kept.folder.name,
            )
        except (OSError, ValueError, KeyError, IndexError, EOFError) as error:
            log.warning("%s is not used, and made anew: %s", kept.folder, error)
            return None
        with contextlib.suppress(OSError):
            os.utime(kept.folder)
        return Part(segment, None if alive.all() else alive)

    # -- writing ------------------------------------------------------------------------------------------------------

    def keep(self, place: Place, segment: Segment) -> Segment:
        """Write the segment, but for its graph. The same one, its arrays mapped from there; as it was where that is not
        possible: the next start is slower then, and nothing else."""
        unfinished: Path | None = None
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            unfinished = Path(tempfile.mkdtemp(prefix=".making-", dir=self._folder))
            digests = {name: _write(unfinished / f"{name}.npy", one) for name, one in _arrays(segment).items()}
            manifest = {
                "format": FORMAT,
                "made": self._made,
                "place": place,
                "rows": len(segment.spans),
                "files": digests,
            }
            content = json.dumps(manifest, indent=2).encode()
            (unfinished / MANIFEST).write_bytes(content)
            folder = self._folder / hashlib.sha256(content).hexdigest()
            failpoints.reached("segment-before-rename")
            if folder.exists() and not _is_sound(folder, digests):
                shutil.rmtree(folder)
            if folder.exists():  # another process has made the same
                shutil.rmtree(unfinished)
            else:
                unfinished.rename(folder)
            failpoints.reached("segment-after-rename")
            mapped = {name: _mapped(folder / f"{name}.npy") for name in ("vectors", "titles")}
        except (OSError, ValueError, EOFError) as error:
            log.warning("a segment of %s could not be kept in %s: %s", "/".join(place), self._folder, error)
            if unfinished is not None:
                shutil.rmtree(unfinished, ignore_errors=True)
            return segment
        index = segment.index.mapped(mapped["vectors"])
        return replace(segment, index=index, titles=mapped["titles"], name=folder.name)

    def keep_graph(self, segment: Segment) -> None:
        """Where it is not there yet, and the segment is. Holds the interpreter."""
        folder = self._folder / segment.name
        if not segment.name or segment.index.is_exact or (folder / GRAPH_MANIFEST).exists():
            return
        unfinished = folder / f".{GRAPH}.{os.getpid()}"
        try:
            segment.index.save_graph(unfinished)
            manifest = {"version": GRAPH_VERSION, "rows": len(segment.spans), "sha256": _sha256(unfinished)}
            failpoints.reached("graph-before-rename")
            unfinished.rename(folder / GRAPH)
            (folder / GRAPH_MANIFEST).write_text(json.dumps(manifest))
        except OSError as error:
            log.warning("%s: its graph could not be kept, and is made anew: %s", folder, error)
            unfinished.unlink(missing_ok=True)

    def clean(self, used: Sequence[Segment]) -> None:
        """Forget what is not among these, nor was used lately by another process."""
        names = {segment.name for segment in used}
        for folder in self._folder.glob("*/"):
            with contextlib.suppress(OSError):
                if folder.name not in names and time.time() - folder.stat().st_mtime > OLD_SECONDS:
                    shutil.rmtree(folder)


def _arrays(segment: Segment) -> dict[str, Array]:
    return {
        "versions": segment.versions,
        "spans": segment.spans,
        "lengths": segment.lengths.astype(np.int32),
        "vectors": segment.index.vectors(slice(None)),
        "titles": segment.titles,
        **{f"words_{name}": one for name, one in segment.words.arrays().items()},
    }


def _is_sound(folder: Path, digests: Mapping[str, str]) -> bool:
    try:
        return all(_sha256(folder / f"{name}.npy") == digest for name, digest in digests.items())
    except OSError:
        return False


def _gone(version: int) -> Document:
    """In the place of a document that does not count any more."""
    return Document(f"\0{version}", "", "", "", "", "", NOBODY)


def _read(kept: Kept, name: str) -> Array:
    """Raises ValueError where it is not as it was written."""
    path = kept.folder / f"{name}.npy"
    if _sha256(path) != kept.digests[name]:
        raise ValueError(f"{path.name} is not what was written")
    return _mapped(path)


def _mapped(path: Path) -> Array:
    return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))


def _graph(folder: Path, rows: int) -> Path | None:
    """None where there is none, or it is in doubt: a damaged one would be loaded, and end the process."""
    try:
        given = json.loads((folder / GRAPH_MANIFEST).read_text())
        if (given["version"], given["rows"]) != (GRAPH_VERSION, rows) or _sha256(folder / GRAPH) != given["sha256"]:
            raise ValueError("it is not what was written")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError) as error:
        log.warning("%s is not used, and made anew: %s", folder / GRAPH, error)
        for name in (GRAPH_MANIFEST, GRAPH):
            with contextlib.suppress(OSError):
                (folder / name).unlink()
        return None
    return folder / GRAPH


def _write(path: Path, array: Array) -> str:
    """In pieces, between which others go on. The sha256."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for chunk in _chunks(np.ascontiguousarray(array)):
            digest.update(chunk)
            file.write(chunk)
    return digest.hexdigest()


def _chunks(array: Array) -> Iterator[bytes | memoryview]:
    """Of a .npy file."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(array))
    yield header.getvalue()
    whole = array.reshape(-1).view(np.uint8).data
    for at in range(0, len(whole), CHUNK):
        yield whole[at : at + CHUNK]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
