"""Documents from records: JSON, one object a line, and tables. Read line by line: a file may be larger than memory."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any

from gateway.dates import check_names, span_of
from gateway.errors import DocumentInvalid
from gateway.knowledge.reading.drafts import (
    SHORT_ANSWER,
    Bad,
    Fields,
    Found,
    Read,
    Where,
    found,
    groups_of,
    shortened,
    tidied,
)

LONGEST_LINE = 8 * 2**20
"""Bytes of a JSON object, or of a field of a table: far above what a document may have."""


def json_lines(where: Where, stream: IO[bytes]) -> Read:
    """As `gateway knowledge export` prints them, or with `question` and `answer`; other keys mean nothing."""
    number = 0
    while line := stream.readline(LONGEST_LINE + 1):
        number += 1
        here = Where(where.path, number)
        if len(line) > LONGEST_LINE:
            while line and not line.endswith(b"\n"):
                line = stream.readline(LONGEST_LINE)
            yield Bad(here, f"is longer than {LONGEST_LINE} bytes: cut it into several documents")
        elif line.strip():
            yield _tried(here, _object, line, number)


def table(where: Where, stream: IO[bytes], delimiter: str) -> Read:
    """A header names the columns: title (or question), answer, body, id, uri, updated, effective, expires,
    and groups separated by ';'."""
    csv.field_size_limit(LONGEST_LINE)
    rows = csv.reader(_lines(stream), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    while True:
        try:
            row = next(rows, None)
        except csv.Error as error:
            yield Bad(Where(where.path, rows.line_num), f"is no row of a table: {error}; double the quotes in a field")
            if header is None:
                return
            continue
        if row is None:
            break
        if header is None:
            header = [name.strip().lower() for name in row]
            if problem := _wrong_header(header):
                yield Bad(Where(where.path, rows.line_num), problem)
                return
        elif row:
            yield _tried(Where(where.path, rows.line_num), _row, header, row)
    if header is None:
        yield Bad(where, "is empty: the first row must name the columns, for example id,title,answer,body")


def _lines(stream: IO[bytes]) -> Iterator[str]:
    """What is not UTF-8 is marked, to be found row by row: it must not end the file."""
    encoding = "utf-8-sig"  # only the first one may open with a byte order mark
    while line := stream.readline(LONGEST_LINE + 1):
        yield line.decode(encoding, "surrogateescape")
        encoding = "utf-8"


def _tried(where: Where, read: Callable[..., Mapping[str, Any]], *given: Any) -> Found | Bad:
    try:
        return _document(where, read(*given))
    except DocumentInvalid as error:
        return Bad(where, str(error))


def _object(line: bytes, number: int) -> Mapping[str, Any]:
    try:
        text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        given = json.loads(text)
    except UnicodeDecodeError as error:
        raise DocumentInvalid(f"is not UTF-8 (byte {error.start}): save the file as UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise DocumentInvalid(f"is not JSON: {error}; each line must be one object") from None
    if not isinstance(given, dict):
        raise DocumentInvalid("is no JSON object: each line must be one, for example an exported document")
    check_names(given)
    return given


def _row(header: list[str], cells: list[str]) -> Mapping[str, Any]:
    if len(cells) != len(header):
        raise DocumentInvalid(
            f"has {len(cells)} fields and the header {len(header)}: quote fields that hold separators"
        )
    given: dict[str, Any] = dict(zip(header, cells, strict=True))
    if not given.get("groups"):
        given["groups"] = None
    else:
        given["groups"] = given["groups"].split(";")
    return given


def _wrong_header(header: list[str]) -> str:
    if not {"title", "question"} & set(header) or not {"answer", "body"} & set(header):
        return "must name the columns title (or question) and answer (or body) in its first row"
    if twice := sorted({name for name in header if name and header.count(name) > 1}):
        return f"names the column {twice[0]} twice"
    if "group" in header:
        return "has the column group: it must be called groups"
    return ""


def _document(where: Where, given: Mapping[str, Any]) -> Found:
    title, question, answer, body = (_text(given, key) for key in ("title", "question", "answer", "body"))
    name = title or question
    if not name.strip():
        raise DocumentInvalid("lacks a title, or a question")
    if not answer.strip() and not body.strip():
        raise DocumentInvalid("lacks an answer")
    # A pair's answer is all there is of it; a title with an answer was written as such, and stays as it is.
    whole = answer if not title and not body else body if not answer.strip() else ""
    if whole:
        answer, body = shortened(tidied(whole)) if len(whole) > SHORT_ANSWER else (whole, "")
    fields = Fields(
        title=name if title else " ".join(name.split()),
        answer=answer,
        body=body,
        uri=_text(given, "uri"),
        updated=_text(given, "updated"),
        groups=groups_of(given.get("groups")),
        span=span_of(given),
    )
    return found(where, _text(given, "id"), name, fields, is_pair=not title)


def _text(given: Mapping[str, Any], key: str) -> str:
    value = given.get(key)
    if value is None:
        return ""
    if isinstance(value, str):
        text = value
    elif isinstance(value, int) and not isinstance(value, bool):  # ids often are
        text = str(value)
    else:
        raise DocumentInvalid(f"{key} must be a text, not {type(value).__name__}")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise DocumentInvalid(f"{key} has what is not UTF-8: save the file as UTF-8")
    return text
