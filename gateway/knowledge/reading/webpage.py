"""Documents from web pages: the main text as Markdown."""

from __future__ import annotations

import codecs
import re
from itertools import pairwise

from selectolax.lexbor import LexborHTMLParser, LexborNode

from gateway.errors import DocumentInvalid
from gateway.knowledge.reading.drafts import Found, Where, cleaned
from gateway.knowledge.reading.prose import prose

NO_TEXT = "script, style, noscript, template, iframe, svg, canvas, object, button, select, input, textarea"
AROUND = "nav, aside, footer, [role=navigation], [role=banner], [role=contentinfo], [hidden], [aria-hidden=true]"
_HEADINGS = {f"h{level}": "#" * level + " " for level in range(1, 7)}
_OPENINGS = {**_HEADINGS, "li": "- "}
_BLOCKS = {
    *("address", "article", "aside", "blockquote", "body", "caption", "dd", "details", "div", "dl", "dt", "fieldset"),
    *(
        "figcaption",
        "figure",
        "form",
        "header",
        "hr",
        "main",
        "ol",
        "p",
        "pre",
        "section",
        "summary",
        "table",
        "tr",
        "ul",
    ),
    *_OPENINGS,
}
_CELLS = frozenset({"td", "th"})
_CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([A-Za-z0-9_.:-]{1,40})", re.IGNORECASE)


def webpage(where: Where, name: str, content: bytes) -> Found:
    """Its title is the only first heading, or what the page calls itself. Raises DocumentInvalid."""
    tree = LexborHTMLParser(_decoded(content))
    head = tree.css_first("head > title")
    title = " ".join(cleaned(head.text()).split()) if head is not None else ""
    mains, articles = tree.css("main, [role=main]"), tree.css("article")
    main = mains[0] if mains else articles[0] if len(articles) == 1 else tree.body
    if main is None:
        raise DocumentInvalid("has no text")
    for node in main.css(f"{NO_TEXT}, {AROUND}" + (", header:not(:has(h1))" if main.tag == "body" else "")):
        node.decompose()
    firsts = main.css("h1")
    text = cleaned(_markdown(main))
    return prose(where, name, text, "" if len(firsts) == 1 and firsts[0].text().strip() else title)


def _decoded(content: bytes) -> str:
    """By its byte order mark, by what it says of itself, or else UTF-8."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        charset = "utf-16"
    else:
        said = _CHARSET.search(content[:4096])
        charset = said[1].decode() if said and not content.startswith(codecs.BOM_UTF8) else "utf-8-sig"
    try:
        return content.decode(charset)
    except (LookupError, UnicodeDecodeError):
        raise DocumentInvalid(f"is not {charset.removesuffix('-sig').upper()}: save it as UTF-8") from None


def _markdown(root: LexborNode) -> str:
    """Not by recursion: pages may be nested deeper than Python's stack."""
    blocks: list[str] = []
    words: list[str] = []
    opening = ""
    stack = [(root, False)]
    while stack:
        node, is_left = stack.pop()
        tag = node.tag or ""
        is_block = tag in _BLOCKS
        if is_block and (line := " ".join("".join(words).split())):
            # A line that only looks like a heading would be cut at.
            blocks.append(opening + (f"\\{line}" if not opening and line.startswith("#") else line))
            opening = ""
        if is_block:
            words.clear()
        if tag in _OPENINGS:
            opening = "" if is_left else _OPENINGS[tag]
        if is_left:
            continue
        if is_block:
            stack.append((node, True))
        if node.is_text_node:
            words.append(node.text_content or "")
        elif tag == "br" or (tag in _CELLS and "".join(words).strip()):
            words.append(" | " if tag in _CELLS else " ")
        stack.extend((child, False) for child in reversed(_children(node)))
    return _joined(blocks)


def _children(node: LexborNode) -> list[LexborNode]:
    children = []
    child = node.child
    while child is not None:
        children.append(child)
        child = child.next
    return children


def _joined(blocks: list[str]) -> str:
    """A blank line between two blocks, none between two items of a list."""
    text = blocks[0] if blocks else ""
    for before, block in pairwise(blocks):
        text += ("\n" if before.startswith("- ") and block.startswith("- ") else "\n\n") + block
    return text
