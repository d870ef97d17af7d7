"""What readers of all formats have in common: where something was read, what became of it, and what is wrong."""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gateway.errors import DocumentInvalid
from gateway.types import Document

LONGEST_ANSWER = 10_000
"""The API's bound: longer ones are shortened, wherever they come from."""
SHORT_ANSWER = 600
"""What is answered with where the source has no short answer: at most so many characters, to the end of a sentence."""
LONGEST_NAME = 200
"""Of titles and ids that are made of what was found: every passage is embedded with its title."""
_LONGEST_ID = 100  # of ids that are made: the API's bound with room for a hash
LEAD_IN = 60
"""A first paragraph of fewer characters ("Key points") is no answer yet."""

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_SENTENCE_END = re.compile(r"[.!?][\"')\]\u201d\u2019]?(?=\s|$)")
_PARAGRAPH_END = re.compile(r"\n[ \t]*\n")
_SPACES = re.compile(r"[^\S\n]+")
_BLANK_LINES = re.compile(r"\n{3,}")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Where:
    """A file, or a line of it."""

    path: Path
    line: int = 0

    def __str__(self) -> str:
        return f"{self.path}:{self.line}" if self.line else str(self.path)


@dataclass(frozen=True, slots=True)
class Bad:
    """What is not read, why, and what to do about it. `count`: of files that it is the same with."""

    where: Where
    why: str
    count: int = 1

    def __str__(self) -> str:
        return f"{self.where}: {self.why}"


@dataclass(frozen=True, slots=True)
class Found:
    """A document as it was read. `spare`: the id to take where its own is another's; empty where the source gave it."""

    where: Where
    document: Document
    spare: str = ""

    def under_spare(self) -> Found:
        return replace(self, document=replace(self.document, id=self.spare), spare="")


@dataclass(frozen=True, slots=True)
class Fields:
    """What a source says of a document."""

    title: str
    answer: str
    body: str = ""
    uri: str = ""
    updated: str = ""
    groups: frozenset[str] = frozenset()
    span: tuple[float, float] = (0.0, math.inf)
    """As `dates.span_of`."""


def found(where: Where, given_id: str, name: str, fields: Fields, is_pair: bool = False) -> Found:
    """The document, in the form in which the API gives it back. Without a usable `given_id` it is called by `name`, or
    by that and a hash; so is a pair of question and answer whose id is another's, as collections of them often have it.
    """
    answer, body = fields.answer, fields.body
    if len(answer) > LONGEST_ANSWER:
        answer, rest = shortened(answer)
        body = f"{rest}\n\n{body}"
    answer = " ".join(answer.split())
    name = given_id or name
    is_given = _ID.fullmatch(given_id) is not None
    digest = hashlib.sha256("\0".join((name, fields.title, fields.answer)).encode(errors="replace")).hexdigest()[:12]
    made = given_id if is_given else identifier(name)
    document = Document(
        id=made or f"document-{digest}",
        title=fields.title,
        uri=fields.uri,
        updated=fields.updated,
        answer=answer,
        text=f"{answer}\n\n{body.strip()}\n",
        groups=fields.groups,
        effective=fields.span[0],
        expires=fields.span[1],
    )
    has_spare = made and (is_pair or not is_given)
    return Found(where, document, f"{made[:_LONGEST_ID]}-{digest}" if has_spare else "")


def identifier(name: str) -> str:
    """Lower case without accents, runs of other characters as one hyphen; empty where no Latin letter or digit is."""
    bare = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", bare.lower()).strip("-")[:_LONGEST_ID].strip("-")


def shortened(text: str) -> tuple[str, str]:
    """An answer of at most SHORT_ANSWER characters, and the rest of the text, which does not say it again.

    The first paragraph if it is one sentence or more, else as many sentences as there is room for. Where not even one
    fits, its beginning, and the rest is then the whole.
    """
    text = text.strip()
    if len(text) <= SHORT_ANSWER:
        return text, ""
    ends = [match.end() for match in _SENTENCE_END.finditer(text, 0, SHORT_ANSWER + 1) if match.end() <= SHORT_ANSWER]
    paragraph = _PARAGRAPH_END.search(text)
    end = paragraph.start() if paragraph else len(text)
    if LEAD_IN <= end <= SHORT_ANSWER and end in ends:
        return text[:end], text[end:].strip()
    if ends and ends[-1] >= LEAD_IN:
        return text[: ends[-1]], text[ends[-1] :].strip()
    return cut(text, SHORT_ANSWER), text


def cut(text: str, most: int) -> str:
    """On one line, and at the end of a word where it is too long."""
    line = " ".join(text[: 4 * most].split())
    if len(line) <= most:
        return line
    return line[: most - 2].rsplit(" ", 1)[0] + " …"


def tidied(text: str) -> str:
    """Without what only laid it out: indentation, runs of spaces and of blank lines."""
    lines = "\n".join(line.strip() for line in _SPACES.sub(" ", text).splitlines())
    return _BLANK_LINES.sub("\n\n", lines).strip()


def cleaned(text: str) -> str:
    """Without control characters, which the API refuses and which texts taken out of files of other kinds may have."""
    return _CONTROL.sub(" ", text.replace("\r\n", "\n").replace("\f", "\n\n"))


def groups_of(given: Any) -> frozenset[str]:
    """Anything but a list of names is refused: read in good faith it could open the document to everybody."""
    if given is None:
        return frozenset()
    if not isinstance(given, list) or not all(isinstance(name, str) and name.strip() for name in given):
        raise DocumentInvalid(f"groups must be a list of names, for example [staff], not {given!r}")
    return frozenset(name.strip() for name in given)


Read = Iterator[Found | Bad]
