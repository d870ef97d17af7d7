"""Segments on disk: what a start would have to make again. A cache and no more; the store is the truth.

A segment is a folder of two files, its arrays and its graph, named by the sha256 of its manifest, which has the sha256
of both: nothing is used unless all of it is as it was written. It is written beside questions as soon as it is made,
under another name until all of it is on the disk, and used from there: mapped, which is memory that the kernel can take
back, and that processes share. Texts are not in it, and rights neither: those are the store's of this moment.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import math
import os
import shutil
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from gateway import failpoints
from gateway.knowledge.changes import Stored
from gateway.knowledge.generation import Part
from gateway.knowledge.graphs import CODES, CodeGraph
from gateway.knowledge.lexical import LexicalIndex
from gateway.knowledge.packed import Array, Layout, is_sound, layout, pack, unpacked, written
from gateway.knowledge.segment import Segment
from gateway.knowledge.vectors import VectorIndex
from gateway.types import Document

log = logging.getLogger(__name__)

FOLDER = "segments"
MANIFEST, ARRAYS, GRAPH = "manifest.json", "arrays.bin", "graph.bin"
UNFINISHED = ".making-"
FORMAT = f"2, {CODES}"
LEAST_LIVE = 0.5
"""Of a segment's documents: one of which less counts is not used."""
OLD_SECONDS = 3600.0
"""Folders that nobody has used for so long go: another process may be about to."""
UNKNOWN_SECONDS = 7 * 86_400.0
"""The same for those of another bundle, which may come back."""
NOBODY = frozenset({"\0"})
"""Who may read what does not count any more: no caller's group has such a name."""
RETRY_SECONDS = 600.0
"""After a segment could not be written, as where the disk is full."""
UNKEPT = "a segment of %s could not be kept in %s: it stays in memory, and is tried again in %g minutes: %s"
WORDS = "words_"
"""Begins the names of the arrays of what documents say literally."""

Place = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Kept:
    """A folder whose manifest is sound. `digests` are of its files."""

    folder: Path
    place: Place
    rows: int
    layout: Layout
    digests: Mapping[str, str]

    def check(self) -> None:
        """Raises OSError, and ValueError where a file is not as it was written: it could end the process."""
        for name, digest in self.digests.items():
            if not is_sound(self.folder / name, digest):
                raise ValueError(f"{name} is not what was written")

    def arrays(self) -> dict[str, Array]:
        return unpacked(self.folder / ARRAYS, self.layout)

    def index(self, vectors: Array) -> VectorIndex:
        is_walked = GRAPH in self.digests
        return VectorIndex.kept(vectors, CodeGraph.read(self.folder / GRAPH, *vectors.shape) if is_walked else None)


class SegmentFiles:
    """Of one store, as one encoder and one way to divide documents have made them (`made`)."""

    def __init__(self, folder: Path, made: str) -> None:
        self._folder = folder / FOLDER
        self._made = made
        self._kept: dict[Place, list[Kept]] | None = None
        self._failed = -math.inf  # when one could not be written, by time.monotonic

    # -- reading ------------------------------------------------------------------------------------------------------

    def parts(self, place: Place, documents: Mapping[int, Document]) -> tuple[list[Part], list[Stored]]:
        """What is kept of these documents, by their versions, and those of them that are in none of it."""
        left = dict(documents)
        parts = []
        for kept in sorted(self._found().get(place, ()), key=lambda one: -one.rows):
            part = self._part(kept, left) if left else None
            if part is not None:
                parts.append(part)
                for number in part.numbers():
                    del left[int(part.segment.versions[number])]
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
            return Kept(folder, (tenant, collection), given["rows"], given["arrays"], given["files"])
        except (OSError, ValueError, KeyError):
            return None

    def _part(self, kept: Kept, documents: Mapping[int, Document]) -> Part | None:
        """None where too little of it counts, or anything is not as it was written."""
        try:
            kept.check()
            arrays = kept.arrays()
            versions = arrays["versions"].tolist()
            # Numbers are given again where a copy was put back: the same one may be another document by then.
            known = zip(versions, arrays["checks"].tolist(), strict=True)
            documents = {
                version: document
                for version, check in known
                if (document := documents.get(version)) is not None and _check(document) == check
            }
            alive = np.array([version in documents for version in versions], bool)
            if alive.mean() < LEAST_LIVE:
                return None
            segment = Segment.of(
                [documents.get(version) or _gone(version) for version in versions],
                versions,
                arrays["spans"],
                arrays["lengths"].tolist(),
                kept.index(arrays["vectors"]),
                arrays["titles"],
                _words(arrays),
                kept.folder.name,
            )
        except (OSError, ValueError, KeyError) as error:
            log.warning("%s is not used, and made anew: %s", kept.folder, error)
            return None
        with contextlib.suppress(OSError):
            os.utime(kept.folder)
        return Part(segment, None if alive.all() else alive)

    # -- writing ------------------------------------------------------------------------------------------------------

    @property
    def may_try(self) -> bool:
        """Whether it is time to write what could not be written."""
        return time.monotonic() - self._failed > RETRY_SECONDS

    def keep(self, place: Place, segment: Segment, go_on: Callable[[], None] = lambda: None) -> Segment:
        """Write the segment. The same one, its arrays and its graph mapped from there; as it was where that is not
        possible: the next start is slower then, and it takes more memory. Raises what `go_on` raises, which is called
        now and then."""
        try:
            with self._unfinished() as unfinished:
                kept = self._written(unfinished, place, segment, go_on)
            arrays = kept.arrays()
            index = kept.index(arrays["vectors"])
        except (OSError, ValueError) as error:
            self._failed = time.monotonic()
            log.warning(UNKEPT, "/".join(place), self._folder, RETRY_SECONDS / 60, error)
            return segment
        return replace(
            segment,
            versions=arrays["versions"],
            spans=arrays["spans"],
            index=index,
            titles=arrays["titles"],
            words=_words(arrays),
            name=kept.folder.name,
        )

    @contextlib.contextmanager
    def _unfinished(self) -> Iterator[Path]:
        """A folder of its own to write in, which is not there afterwards. It is locked meanwhile: who cleans up sees
        whether somebody still writes. Raises OSError."""
        self._folder.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=self._folder))
        try:
            with _locked(folder):
                yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _written(self, unfinished: Path, place: Place, segment: Segment, go_on: Callable[[], None]) -> Kept:
        """Raises OSError."""
        arrays = _arrays(segment)
        digests = {ARRAYS: written(unfinished / ARRAYS, partial(pack, arrays), go_on)}
        failpoints.reached("segment-before-graph")
        if segment.index.codes is not None:
            digests[GRAPH] = written(unfinished / GRAPH, segment.index.codes.write, go_on)
        failpoints.reached("segment-before-manifest")
        rows, where = len(segment.spans), layout(arrays)
        manifest = {
            "format": FORMAT,
            "made": self._made,
            "place": place,
            "rows": rows,
            "arrays": where,
            "files": digests,
        }
        content = json.dumps(manifest, indent=2).encode()
        kept = Kept(self._folder / hashlib.sha256(content).hexdigest(), place, rows, where, digests)
        written(unfinished / MANIFEST, lambda write: write(content))
        failpoints.reached("segment-before-rename")
        if not self._is_there(kept):  # else another process has made the same
            unfinished.rename(kept.folder)
        failpoints.reached("segment-after-rename")
        return kept

    def _is_there(self, kept: Kept) -> bool:
        """One that is not sound is taken away."""
        with contextlib.suppress(OSError, ValueError):
            if self._manifest(kept.folder) is not None:
                kept.check()
                return True
        shutil.rmtree(kept.folder, ignore_errors=True)
        return False

    def clean(self, used: Sequence[Segment]) -> None:
        """Forget what is not among these, nor was used lately by another process, and what nobody finishes."""
        names = {segment.name for segment in used}
        own = {kept.folder for some in self._found().values() for kept in some}
        for folder in self._folder.glob("*/"):
            with contextlib.suppress(OSError):
                if folder.name.startswith(UNFINISHED):
                    with _locked(folder):
                        shutil.rmtree(folder)
                elif folder.name not in names:
                    age = time.time() - folder.stat().st_mtime
                    if age > (OLD_SECONDS if folder in own else UNKNOWN_SECONDS):
                        shutil.rmtree(folder)
        self._kept = None

    def forget(self, replaced: Sequence[Segment]) -> None:
        """What was merged into others. Another process that uses them still has what it has mapped."""
        for segment in replaced:
            if segment.name:
                shutil.rmtree(self._folder / segment.name, ignore_errors=True)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Raises OSError where another one has locked it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _arrays(segment: Segment) -> dict[str, Array]:
    return {
        "versions": segment.versions,
        "checks": np.array([_check(document) for document in segment.documents], np.uint32),
        "spans": segment.spans,
        "lengths": segment.lengths.astype(np.int32),
        "vectors": segment.index.vectors(slice(None)),
        "titles": segment.titles,
        **{f"{WORDS}{name}": one for name, one in segment.words.arrays().items()},
    }


def _words(arrays: Mapping[str, Array]) -> LexicalIndex:
    return LexicalIndex.kept({name.removeprefix(WORDS): one for name, one in arrays.items() if name.startswith(WORDS)})


def _check(document: Document) -> int:
    return zlib.crc32("\0".join((document.id, document.title, document.text)).encode(errors="surrogatepass"))


def _gone(version: int) -> Document:
    """In the place of a document that does not count any more."""
    return Document(f"\0{version}", "", "", "", "", "", NOBODY)
