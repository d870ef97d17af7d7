"""A calibration of a stored collection: questions read, checked and searched for, and what came of it shown."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from rich import box
from rich.console import Console, Group
from rich.table import Table

from gateway.cascade.confidence import DEPTH
from gateway.cascade.fitting import LEAST_ANSWERS, Report, Tried
from gateway.cascade.policy import NEVER
from gateway.cli.main import Failure
from gateway.client import CallFailed, Client
from gateway.client.editor import Editor
from gateway.types import Ranker, SearchConfidence

T = TypeVar("T")
R = TypeVar("R")

AT_ONCE = 4
"""Questions on their way: enough to keep a gateway at it, and others hardly notice."""
SHOWN = 5
BAR = 24


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, and the documents that answer it: none where the collection has no answer."""

    where: str
    text: str
    document_ids: frozenset[str]


def read(path: Path) -> list[Asked]:
    """Of a .jsonl or .csv file. Raises Failure, naming the line."""
    reader = {".jsonl": _lines, ".csv": _table}.get(path.suffix.lower())
    if reader is None:
        raise Failure(f"{path}: questions are read from .jsonl and .csv")
    try:
        return [_asked(where, row) for where, row in reader(path)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise Failure(f"{path}: is not read: {error}") from None


def _lines(path: Path) -> Iterator[tuple[str, object]]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                try:
                    yield f"{path}:{number}", json.loads(line)
                except ValueError as error:
                    raise Failure(f"{path}:{number}: is no JSON: {error}") from None


def _table(path: Path) -> Iterator[tuple[str, object]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file)
        for row in rows:
            yield f"{path}:{rows.line_num}", row


def _asked(where: str, row: object) -> Asked:
    if not isinstance(row, dict) or not {"question", "document_id"} <= row.keys():
        raise Failure(
            f"{where}: needs a question and a document_id: several separated by ';', empty where nothing answers it"
        )
    text, ids = row["question"], row["document_id"] or ""
    if not isinstance(text, str) or not text.strip() or not isinstance(ids, str):
        raise Failure(f"{where}: question and document_id must be texts, and the question not blank")
    return Asked(where, text, frozenset(one.strip() for one in ids.split(";") if one.strip()))


def check_there(editor: Editor, collection: str, asked: Sequence[Asked]) -> None:
    """Raises Failure for questions whose documents are not in the collection: to search for them would only tell that.
    And CallFailed."""

    def is_there(document_id: str) -> bool:
        try:
            editor.get(collection, document_id)
        except CallFailed as error:
            if error.code not in ("NOT_FOUND", "INVALID_ARGUMENT"):
                raise
            return False
        return True

    ids = sorted({document_id for one in asked for document_id in one.document_ids})
    there = dict(zip(ids, _together(is_there, ids), strict=True))
    missing = [f"{one.where}: {each}" for one in asked for each in sorted(one.document_ids) if not there[each]]
    if missing:
        some = "; ".join(missing[:SHOWN]) + "; ..." * (len(missing) > SHOWN)
        raise Failure(
            f"{len(missing)} document_ids are not in {collection!r}, or only groups that you are not in may read them: "
            f"{some}. Correct them, or leave them empty where nothing in the collection answers the question"
        )


def tried(client: Client, collection: str, asked: Sequence[Asked]) -> list[Tried]:
    """What a search finds for each. Raises Failure for a question that is none, and CallFailed."""

    def search(one: Asked) -> Tried:
        try:
            hits = client.search(one.text, collection=collection, limit=DEPTH, ranker=Ranker.HYBRID)
        except CallFailed as error:
            if error.code == "INVALID_ARGUMENT":
                raise Failure(f"{one.where}: the gateway refuses it: {error.message}") from None
            raise
        is_right = bool(hits) and hits[0].document_id in one.document_ids
        return Tried(tuple((hit.score, hit.similarity) for hit in hits), is_right, bool(one.document_ids))

    return _together(search, asked)


def _together(do: Callable[[T], R], some: Sequence[T]) -> list[R]:
    """In their order, a few at a time; after one that fails no other is begun."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        begun = [pool.submit(do, one) for one in some]
        try:
            return [one.result() for one in begun]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def show(confidence: SearchConfidence, report: Report) -> None:
    summary = Table.grid(padding=(0, 2))
    strays = report.questions - report.in_here
    for name, value in (
        ("questions", f"{report.questions}, of which {strays} have no answer in here"),
        ("first hit right", f"{report.right} ({report.right / report.questions:.0%})"),
        ("AUROC, ECE", f"{report.auroc:.3f}, {report.ece:.3f} (held out)"),
        ("precision asked for", f"{confidence.precision:.0%}"),
        *_threshold_rows(confidence, report, strays),
    ):
        summary.add_row(name, value)
    Console().print(Group(summary, _reliability(report)))


def _threshold_rows(confidence: SearchConfidence, report: Report, strays: int) -> Iterator[tuple[str, str]]:
    if confidence.threshold == NEVER:
        yield (
            "threshold",
            f"never: no confidence reaches that with {LEAST_ANSWERS} answers, so retrieval abstains always",
        )
        return
    yield "threshold", f"{confidence.threshold:.3f}"
    yield "answered from there on", f"{report.coverage:.0%}, of which {report.reached:.0%} right (held out)"
    if strays:
        yield "without an answer in here", f"{report.strays} of {strays} answered"


def _reliability(report: Report) -> Table:
    """As sure as it is right: the two columns should be alike."""
    table = Table("confidence", "questions", "mean", "right", "", box=box.SIMPLE_HEAD)
    for one in report.bins:
        bar = "#" * round(BAR * one.right)
        table.add_row(f"{one.low:.2f} - {one.high:.2f}", str(one.questions), f"{one.mean:.2f}", f"{one.right:.2f}", bar)
    return table
