"""Reading questions from files: CSV, JSON, JSONL and plain lines, with a clear error for each way to be wrong."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Labelled:
    """A question and its intent; `category` is empty where the file has no labels, `document` where it names none."""

    text: str
    category: str
    document: str = ""


def read(source: Path, split: str = "") -> list[Labelled]:
    """The questions in `source`, blank ones left out.

    `.csv` needs a column `text` and may have `category` and `document`; `.jsonl` the same keys; `.json` is a mapping of
    splits to [text, category] pairs, of which `split` is taken; anything else is one question a line. `.gz` is
    unpacked. Raises FileNotFoundError or ValueError, naming the file and what it lacks.
    """
    if not source.is_file():
        raise FileNotFoundError(f"no such file: {source}")
    kind = source.with_suffix("").suffix if source.suffix == ".gz" else source.suffix
    parse = {".csv": _csv, ".jsonl": _jsonl, ".json": _json}.get(kind, _lines)
    try:
        rows = [
            Labelled(row.text.strip(), row.category.strip(), row.document.strip())
            for row in parse(_content(source), split)
        ]
    except UnicodeDecodeError as error:
        raise ValueError(f"{source}: {_not_utf8(error)}") from error
    except (ValueError, KeyError, TypeError, AttributeError, csv.Error, OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{source}: not readable as {kind or 'text'}: {error!r}") from error
    rows = [row for row in rows if row.text]
    if not rows:
        raise ValueError(f"{source}: holds no questions")
    return rows


def sha256(source: Path) -> str:
    """The hash of the file as it lies on the disk."""
    with source.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _content(source: Path) -> str:
    data = source.read_bytes()
    return (gzip.decompress(data) if source.suffix == ".gz" else data).decode("utf-8-sig")


def _not_utf8(error: UnicodeDecodeError) -> str:
    line = error.object.count(b"\n", 0, error.start) + 1
    return (
        f"line {line}: the byte 0x{error.object[error.start]:02X} is not UTF-8 ({error.reason}). Save the file as "
        "UTF-8; it may be in Latin-1 or Windows-1252 now"
    )


def _csv(content: str, _split: str) -> Iterator[Labelled]:
    # Untranslated, as BANKING77 has questions with line breaks inside quotes; str.splitlines also cuts at U+2028.
    reader = csv.DictReader(io.StringIO(content, newline=""), strict=True)
    if "text" not in (reader.fieldnames or ()):
        raise KeyError(f"column 'text' (columns: {', '.join(reader.fieldnames or ())})")
    for row in reader:
        yield Labelled(row["text"] or "", row.get("category") or "", row.get("document") or "")


def _jsonl(content: str, _split: str) -> Iterator[Labelled]:
    for line in content.split("\n"):
        if line.strip():
            row = json.loads(line)
            yield Labelled(row["text"], row.get("category", ""), row.get("document", ""))


def _json(content: str, split: str) -> Iterator[Labelled]:
    splits = json.loads(content)
    if split not in splits:
        raise KeyError(f"split {split!r} (splits: {', '.join(splits)})")
    for text, category in splits[split]:
        yield Labelled(text, category)


def _lines(content: str, _split: str) -> Iterator[Labelled]:
    for line in content.split("\n"):
        yield Labelled(line, "")
