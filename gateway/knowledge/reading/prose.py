"""Documents from running text in Markdown, which other formats are turned into: its title, its answer and the rest."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from gateway.errors import DocumentInvalid
from gateway.knowledge import documents
from gateway.knowledge.reading.drafts import LEAD_IN, LONGEST_NAME, Fields, Found, Where, cleaned, cut, found, shortened

_HEADING = re.compile(r"#{1,6}[ \t]+(?P<title>\S.*?)[ \t#]*")
_LAID_OUT = re.compile(r"[ \t]*(?:[-*+] |\d+[.)] |\||>|```|~~~)")
_FENCE = re.compile(r"[ \t]*(?:```|~~~)")


def markdown(where: Where, name: str, content: bytes) -> Found:
    """Front matter says all of it; without it the first heading is the title, and the first paragraph the answer."""
    text = decoded(content)
    if text.startswith("---\n"):
        return Found(where, documents.article(where.path, text))
    return prose(where, name, cleaned(text))


def plain(where: Where, name: str, content: bytes) -> Found:
    """Its title is the file's name: a first line may be anything."""
    return prose(where, name, cleaned(decoded(content)), title_of(where.path))


def prose(where: Where, name: str, text: str, title: str = "") -> Found:
    """Without a `title` the first heading is it, or the file's name. Raises DocumentInvalid where there is no text."""
    blocks = _blocks(text)
    running = [at for at, block in enumerate(blocks) if not _HEADING.fullmatch(block)]
    if not running:
        raise DocumentInvalid("has no text: nothing but headings, if any")
    at = next((at for at in running if _says_something(blocks[at])), running[0])
    if not title:
        headings = [at for at, block in enumerate(blocks) if _HEADING.fullmatch(block)]
        title = _heading(blocks[headings[0]]) if headings else title_of(where.path)
        # Said with every passage anyway, as their title.
        if headings and headings[0] < at:
            del blocks[headings[0]]
            at -= 1
    answer, rest = shortened(blocks[at])
    body = [*_without_bare(blocks[:at], blocks[at + 1 :], rest)]
    fields = Fields(cut(title, LONGEST_NAME), documents.link_words(answer), "\n\n".join(body))
    return found(where, "", name, fields)


def decoded(content: bytes) -> str:
    """UTF-8, with line ends as in Markdown. Raises DocumentInvalid for anything else."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DocumentInvalid(f"is not UTF-8 (byte {error.start}): save it as UTF-8") from None
    return text.replace("\r\n", "\n")


def _blocks(text: str) -> list[str]:
    """Headings, and runs of lines without a blank one. What is fenced is code, and kept together."""
    blocks: list[list[str]] = [[]]
    is_fenced = False
    for line in text.split("\n"):
        fence = _FENCE.match(line) is not None
        if not is_fenced and (not line.strip() or _HEADING.fullmatch(line) or fence):
            blocks.append([])
        if line.strip() or is_fenced:
            blocks[-1].append(line.rstrip())
        if not is_fenced and _HEADING.fullmatch(line):
            blocks.append([])
        if fence:
            is_fenced = not is_fenced
    return ["\n".join(block) for block in blocks if block]


def _says_something(block: str) -> bool:
    """And is no list, table or code, and no crumb of what a page has around its text."""
    return not _LAID_OUT.match(block) and (len(block) >= LEAD_IN or block.endswith((".", "!", "?")))


def _without_bare(before: Sequence[str], after: Sequence[str], rest: str) -> list[str]:
    """All but headings that stand before nothing now that the answer is taken out."""
    kept = list(before)
    if not rest and (not after or _HEADING.fullmatch(after[0])):
        level = _level(after[0]) if after else 0
        while kept and _HEADING.fullmatch(kept[-1]) and _level(kept[-1]) >= level:
            kept.pop()
    return [*kept, *([rest] if rest else []), *after]


def _level(heading: str) -> int:
    return len(heading) - len(heading.lstrip("#"))


def _heading(block: str) -> str:
    match = _HEADING.fullmatch(block)
    assert match
    # Underscores stay: they are in names more often than around words.
    return re.sub(r"[*`]+", "", documents.link_words(match["title"])).strip() or match["title"]


def title_of(path: Path) -> str:
    name = path.name.removesuffix(".gz")
    return " ".join(re.sub(r"[-_]+", " ", name.rpartition(".")[0] or name).split()) or name
