"""Documents from Markdown with front matter, and their division into passages."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from gateway.dates import check_names, span_of
from gateway.errors import DocumentInvalid
from gateway.types import Document, Passage

MAX_WORDS = 60
"""Passages are cut at about this many words: short enough that one passage is about one thing, and that a whole batch
of them fits the encoder's window with the title in front."""

MAX_CHARS = 1500
"""And at so many characters, wherever that is: what is beyond the encoder's window is not found by meaning."""
_STOPS = ("\n", "\u3002\uff01\uff1f", " ")  # and the full stops of Chinese and Japanese

PASSAGES_VERSION = 2
"""Of the way in which documents are divided and embedded (since 2 the title by itself, too): vectors that are kept of
passages are of no use to another one."""

_REQUIRED = ("id", "title", "uri", "updated", "answer")
_BLOCK = re.compile(r"\S(?:.|\n(?!\s*(?:\n|\Z)))*")  # a run of lines without a blank one
_SENTENCE = re.compile(r"\S.*?(?:[.!?](?=\s)|$)", re.DOTALL)
# Both bounded and of one line: a text of brackets or of blank lines would take its length squared.
_LINK = re.compile(r"\[([^\]\[\n]{0,500})\]\([^)\n]{0,2000}\)")
_MARKUP = re.compile(r"(?m)^[ \t]*(?:#{1,6}|[-*+]|\d+\.)\s+|[*_`]{1,3}")

LOADER: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's where it is there, five times faster: articles are read anew beside questions, when a bundle is swapped."""


def read_folder(folder: Path) -> list[Document]:
    """Every article `*.md` in `folder`, in order of names; README.md is for people. Raises DocumentInvalid."""
    if not folder.is_dir():
        raise DocumentInvalid(f"no such collection folder: {folder}")
    documents = [read(path) for path in sorted(folder.glob("*.md")) if path.name != "README.md"]
    if not documents:
        raise DocumentInvalid(f"{folder}: holds no articles (*.md with front matter)")
    ids = [document.id for document in documents]
    twice = sorted({one for one in ids if ids.count(one) > 1})
    if twice:
        raise DocumentInvalid(f"{folder}: ids used twice: {', '.join(twice)}")
    return documents


def read(path: Path) -> Document:
    """One article. Raises DocumentInvalid, naming the file and the field."""
    try:
        content = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DocumentInvalid(f"{path}: not readable: {error}") from error
    return article(path, content)


def article(path: Path, content: str) -> Document:
    """One article of that content. Raises DocumentInvalid, naming the file and the field."""
    parts = content.split("---\n", 2)
    if len(parts) != 3 or parts[0].strip():
        raise DocumentInvalid(f"{path}: must open with front matter between two lines of ---")
    try:
        matter: Any = yaml.load(parts[1], LOADER)  # noqa: S506  # it is a safe one
    except (yaml.YAMLError, ValueError) as error:  # the latter of what has the form of a date, and is none
        raise DocumentInvalid(f"{path}: front matter is not YAML: {error}") from error
    missing = [key for key in _REQUIRED if not (isinstance(matter, dict) and matter.get(key))]
    if missing:
        raise DocumentInvalid(f"{path}: front matter lacks {', '.join(missing)}")
    try:
        check_names(matter)
        effective, expires = span_of(matter)
    except DocumentInvalid as error:
        raise DocumentInvalid(f"{path}: front matter: {error}") from None
    answer = " ".join(str(matter["answer"]).split())
    return Document(
        id=str(matter["id"]),
        title=str(matter["title"]),
        uri=str(matter["uri"]),
        updated=str(matter["updated"]),
        answer=answer,
        text=f"{answer}\n\n{parts[2].strip()}\n",
        groups=_groups(path, matter.get("groups")),
        effective=effective,
        expires=expires,
    )


def _groups(path: Path, given: Any) -> frozenset[str]:
    """Anything but a list of names is refused: read in good faith it could open the article to everybody."""
    if given is None:
        return frozenset()
    if not isinstance(given, list) or not all(isinstance(name, str) and name.strip() for name in given):
        raise DocumentInvalid(f"{path}: groups must be a list of names, for example [staff], not {given!r}")
    return frozenset(name.strip() for name in given)


def passages(document: Document) -> list[Passage]:
    """The document's passages in order; the first is the short answer. Every passage is embedded with the title."""
    found: list[Passage] = []
    for start, end in _spans(document.text):
        quote = document.text[start:end]
        if plain := plain_text(quote):
            digest = hashlib.sha256(quote.encode()).hexdigest()
            found.append(Passage(document.id, len(found), start, end, f"{document.title}. {plain}", digest))
    return found


def plain_text(markdown: str) -> str:
    """The words of a piece of Markdown on one line."""
    return " ".join(_MARKUP.sub(" ", link_words(markdown)).split())


def link_words(markdown: str) -> str:
    """Links to their words."""
    return _LINK.sub(r"\1", markdown)


def slug(label: str) -> str:
    """The document id that a label stands for by default: lower case, runs of other characters as one hyphen."""
    return re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-")


def _spans(text: str) -> Iterator[tuple[int, int]]:
    """The answer, then blocks joined or cut at sentences to at most about MAX_WORDS.

    A heading opens a new span, and never stands alone before what it is the heading of.
    """
    blocks = [match.span() for match in _BLOCK.finditer(text)]
    yield from _cut(text, *blocks[0])
    start = end = blocks[0][1]
    words, bare = 0, False
    for block in blocks[1:]:
        pieces = [block]
        if _words(text, *block) > MAX_WORDS:
            pieces = [(block[0] + a, block[0] + b) for a, b in _sentences(text[slice(*block)])]
        pieces = [part for piece in pieces for part in _cut(text, *piece)]
        for piece_start, piece_end in pieces:
            size = _words(text, piece_start, piece_end)
            heading = text.startswith("#", piece_start)
            is_long = words + size > MAX_WORDS or piece_end - start > MAX_CHARS
            if words and not bare and (is_long or heading):
                yield start, end
                words = 0
            if not words:
                start = piece_start
            end = piece_end
            words += size
            bare = heading and (bare or words == size)
    if words:
        yield start, end


def _cut(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """A span in pieces of at most MAX_CHARS: at ends of lines or sentences where there are any, else at spaces, else
    anywhere. Tables, code and languages without spaces have none of them for long."""
    while end - start > MAX_CHARS:
        window = text[start : start + MAX_CHARS]
        at = next((last for stop in _STOPS if (last := max(window.rfind(one) for one in stop)) > 0), MAX_CHARS - 1)
        yield start, start + at + 1
        start += at + 1
    yield start, end


def _words(text: str, start: int, end: int) -> int:
    return len(text[start:end].split())


def _sentences(block: str) -> list[tuple[int, int]]:
    return [match.span() for match in _SENTENCE.finditer(block)]
