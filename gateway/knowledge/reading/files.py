"""Files and folders to documents, one after the other: what cannot be read is named, and the others follow."""

from __future__ import annotations

import gzip
import importlib
import os
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, cast

from gateway.errors import DocumentInvalid
from gateway.knowledge.reading import prose, records
from gateway.knowledge.reading.drafts import Bad, Found, Read, Where

LARGEST_FILE = 64 * 2**20
"""Bytes of a file that is one document, unpacked: it is held whole."""

RECORDS: dict[str, Callable[[Where, IO[bytes]], Read]] = {
    ".jsonl": records.json_lines,
    ".ndjson": records.json_lines,
    ".csv": lambda where, stream: records.table(where, stream, ","),
    ".tsv": lambda where, stream: records.table(where, stream, "\t"),
}
WHOLE: dict[str, Callable[[Where, str, bytes], Found]] = {
    ".md": prose.markdown,
    ".markdown": prose.markdown,
    ".txt": prose.plain,
}
# Suffix -> the module and function that read it, and the package that they need.
OPTIONAL = {
    ".html": ("webpage", "selectolax"),
    ".htm": ("webpage", "selectolax"),
    ".pdf": ("pdf", "pypdf"),
}
FORMATS = (*WHOLE, *RECORDS, *OPTIONAL)
HOW_TO_INSTALL = "pip install 'cascade-gateway[documents]'"


class Reading:
    """Of `paths`. `seen`: the ids of what was read so far; `left_out`: files of other formats in folders, by suffix."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._paths = tuple(paths)
        self._taken: dict[str, Where] = {}  # spare ids too, so that what is read twice is told from what is alike
        self.seen: set[str] = set()
        self._missing: dict[str, tuple[Where, int]] = {}  # package -> the first file that needs it, and how many do
        self.left_out: Counter[str] = Counter()

    def __iter__(self) -> Iterator[Found | Bad]:
        """Once."""
        for path in self._paths:
            some = False
            for file, name in self._files(path):
                some = True
                yield from self._different(self._read(file, name))
            if not some:
                yield Bad(Where(path), f"holds no file that can be read ({', '.join(FORMATS)})")
        for package, (where, count) in self._missing.items():
            others = f", and {count - 1} more files" if count > 1 else ""
            yield Bad(where, f"reading it needs the package {package}{others}: {HOW_TO_INSTALL}", count)

    def _files(self, path: Path) -> Iterator[tuple[Path, str]]:
        """With the names that their documents get, in order. Hidden ones and README.md, which is for people, are not
        among them."""
        if not path.is_dir():
            yield path, path.name
            return
        for folder, folders, names in os.walk(path):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(names):
                file = Path(folder, name)
                if name.startswith(".") or name == "README.md":
                    continue
                if format_of(file) in FORMATS:
                    yield file, file.relative_to(path).as_posix()
                else:
                    self.left_out[format_of(file) or name] += 1

    def _read(self, path: Path, name: str) -> Read:
        where, suffix = Where(path), format_of(path)
        name = name.removesuffix(".gz").removesuffix(suffix)
        try:
            if not path.is_file():
                yield Bad(where, "is no regular file: name what it stands for")
            elif suffix in RECORDS:
                with _opened(path) as stream:
                    yield from RECORDS[suffix](where, stream)
            elif suffix in WHOLE:
                yield WHOLE[suffix](where, name, _whole(path))
            elif suffix in OPTIONAL:
                reader = self._optional(suffix, where)
                if reader is not None:
                    yield reader(where, name, _whole(path))
            else:
                yield Bad(where, f"is of no format that can be read: {', '.join(FORMATS)}, by its suffix")
        except DocumentInvalid as error:
            yield Bad(where, str(error).removeprefix(f"{path}: "))
        except (OSError, EOFError, zlib.error) as error:
            yield Bad(where, f"cannot be read: {error}; check its permissions, or copy it anew")

    def _optional(self, suffix: str, where: Where) -> Callable[[Where, str, bytes], Found] | None:
        """The reader; None where its parser is not installed."""
        module, package = OPTIONAL[suffix]
        try:
            loaded = importlib.import_module(f"gateway.knowledge.reading.{module}")
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] != package:
                raise
            first, count = self._missing.get(package, (where, 0))
            self._missing[package] = (first, count + 1)
            return None
        return cast("Callable[[Where, str, bytes], Found]", getattr(loaded, module))

    def _different(self, read: Read) -> Read:
        for one in read:
            if isinstance(one, Bad):
                yield one
                continue
            spare = one.spare
            if one.document.id in self._taken and spare:
                one = one.under_spare()
            if (first := self._taken.get(one.document.id)) is not None:
                yield Bad(one.where, f"its id {one.document.id} is that of {first} too: give it another one")
                continue
            self._taken[one.document.id] = one.where
            if spare:
                self._taken.setdefault(spare, one.where)
            self.seen.add(one.document.id)
            yield one


def format_of(path: Path) -> str:
    """Its suffix, of what is packed where it is."""
    name = path.name.lower().removesuffix(".gz")
    return Path(name).suffix


def _opened(path: Path) -> IO[bytes]:
    return cast("IO[bytes]", gzip.open(path)) if path.name.lower().endswith(".gz") else path.open("rb")


def _whole(path: Path) -> bytes:
    with _opened(path) as stream:
        content = stream.read(LARGEST_FILE + 1)
    if len(content) > LARGEST_FILE:
        raise DocumentInvalid(f"is larger than {LARGEST_FILE // 2**20} MB: divide it")
    return content
