"""MedQuAD's documents, what laypeople ask about them, and which documents are right.

300 questions were frozen before anything was tuned, and nothing is chosen by them. 150 others, of other documents, are
there to choose by.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.knowledge.reading.drafts import Bad
from gateway.knowledge.reading.files import Reading
from gateway.types import Document

FILE = "medquad.jsonl.gz"
FROZEN, DEV = "frozen", "dev"
QUESTIONS = {FROZEN: Path(__file__).with_name("medquad.jsonl"), DEV: Path(__file__).with_name("medquad_dev.jsonl")}


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, and the documents that are right."""

    text: str
    right: frozenset[str]


@dataclass(frozen=True, slots=True)
class Data:
    """`documents` as the import reads them; `left_out` are records that it does not take. `several`: questions whose id
    in the data is that of several records, of which each is then the right one."""

    documents: Sequence[Document]
    left_out: int
    asked: Sequence[Asked]
    several: int


Record = dict[str, Any]


def read(folder: Path, most: int | None = None, which: str = FROZEN) -> Data:
    """All documents, or the first so many and those that are asked for by `which` of QUESTIONS. Raises OSError,
    ValueError."""
    path = folder / FILE
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        records: list[Record] = [json.loads(line) for line in lines]
    by_line: dict[int, Document] = {}
    left_out = 0
    for one in Reading([path]):
        if isinstance(one, Bad):
            left_out += 1
        else:
            by_line[one.where.line] = one.document
    questions = [json.loads(line) for line in QUESTIONS[which].read_text(encoding="utf-8").splitlines()]
    found = _Right(records, by_line)
    asked = [Asked(one["question"], found.of(one["id"])) for one in questions]
    wanted = {name for one in questions for name in found.own(one["id"])}
    documents = [
        one for number, one in enumerate(by_line.values()) if most is None or number < most or one.id in wanted
    ]
    several = sum(len(found.records(one["id"])) > 1 for one in questions)
    return Data(documents, left_out, asked, several)


class _Right:
    """Which documents answer a question: its own, and those that ask the same."""

    def __init__(self, records: Sequence[Record], by_line: dict[int, Document]) -> None:
        self._by_id: dict[str, list[Record]] = {}
        self._alike: dict[object, set[str]] = {}
        self._own: dict[str, set[str]] = {}
        for line, record in enumerate(records, 1):
            self._by_id.setdefault(record["id"], []).append(record)
            if line in by_line:
                name = by_line[line].id
                self._own.setdefault(record["id"], set()).add(name)
                for what in _says(record):
                    self._alike.setdefault(what, set()).add(name)

    def records(self, record_id: str) -> Sequence[Record]:
        return self._by_id.get(record_id, [])

    def own(self, record_id: str) -> set[str]:
        return self._own.get(record_id, set())

    def of(self, record_id: str) -> frozenset[str]:
        said = {what for record in self.records(record_id) for what in _says(record)}
        return frozenset(self.own(record_id).union(*(self._alike.get(what, set()) for what in said)))


def _says(record: Record) -> Iterator[object]:
    """Records that have any of these are about the same."""
    if focus := str(record.get("focus") or "").strip().lower():
        yield focus, record.get("qtype")
    if plain := " ".join(re.findall(r"[^\W_]+", record["question"].lower())):
        yield plain
