"""Documents from files of many formats: what each becomes, and how what cannot be read is named."""

from __future__ import annotations

import csv
import gzip
import importlib.util
import io
import json
import math
import tempfile
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cli.exporting import shown
from gateway.client.editor import Kept
from gateway.convert import document_from_proto, document_to_proto
from gateway.errors import InvalidQuestion
from gateway.knowledge.documents import passages
from gateway.knowledge.reading import drafts, files
from gateway.knowledge.reading.drafts import Bad, identifier, shortened
from gateway.knowledge.reading.files import Reading
from gateway.rpc import editing
from gateway.types import Document

needs_selectolax = pytest.mark.skipif(
    importlib.util.find_spec("selectolax") is None, reason="selectolax is not installed: the extra [documents]"
)
needs_pypdf = pytest.mark.skipif(
    importlib.util.find_spec("pypdf") is None, reason="pypdf is not installed: the extra [documents]"
)
SENTENCE = "The quick brown fox jumps over the lazy dog near the old mill. "
FRONT = "---\nid: fees\ntitle: Fees\nuri: u\nupdated: 2026-01-02\nanswer: None.\n---\nBody.\n"


def read(*paths: Path) -> tuple[list[Document], list[str]]:
    found = list(Reading(paths))
    return [one.document for one in found if not isinstance(one, Bad)], [str(one) for one in found if type(one) is Bad]


def one(path: Path, content: str | bytes) -> Document:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    good, bad = read(path)
    assert not bad
    return good[0]


def why(path: Path, content: str | bytes) -> str:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    good, bad = read(path)
    assert not good
    return "\n".join(bad)


def body(document: Document) -> str:
    return document.text.removeprefix(document.answer).strip()


def lines(*given: object) -> str:
    return "".join(json.dumps(each) + "\n" for each in given)


# -- running text -----------------------------------------------------------------------------------------------------


def test_front_matter_says_all_of_it(tmp_path: Path) -> None:
    document = one(tmp_path / "a.md", "\ufeff" + FRONT.replace("\n", "\r\n"))
    assert (document.id, document.title, document.answer, document.text) == (
        "fees",
        "Fees",
        "None.",
        "None.\n\nBody.\n",
    )


def test_front_matter_that_lacks_something_is_named(tmp_path: Path) -> None:
    assert why(tmp_path / "a.md", "---\nid: a\n---\nBody.").endswith(
        "a.md: front matter lacks title, uri, updated, answer"
    )


def test_markdown_without_front_matter_has_its_heading_as_title(tmp_path: Path) -> None:
    (tmp_path / "guides").mkdir()
    path = tmp_path / "guides" / "Set_Up.md"
    path.write_text("# How to *set up*\n\nSee [the page](https://x.example/).\nIt is short.\n\n## Then\n\nMore.\n")
    (document,), bad = read(tmp_path)
    assert not bad
    assert (document.id, document.title, document.updated, document.uri) == ("guides-set-up", "How to set up", "", "")
    assert document.answer == "See the page. It is short."
    assert body(document) == "## Then\n\nMore."


def test_a_heading_that_heads_nothing_any_more_goes_with_the_answer(tmp_path: Path) -> None:
    document = one(tmp_path / "a.md", "# T\n\n## Summary\n\nShort.\n\n## Details\n\nLong.\n")
    assert (document.title, document.answer, body(document)) == ("T", "Short.", "## Details\n\nLong.")
    deeper = one(tmp_path / "a.md", "# T\n\n## Summary\nShort.\n\n### Details\nLong.\n")
    assert body(deeper) == "## Summary\n\n### Details\n\nLong."


def test_an_answer_says_something(tmp_path: Path) -> None:
    items = "- a list that is long enough to be taken for a paragraph of text"
    document = one(tmp_path / "a.md", f"Home > Help\n\n# Set `my_key`\n\nNote\n\n{items}\n\nSo.")
    assert (document.title, document.answer) == ("Set my_key", "So.")
    assert body(document) == f"Home > Help\n\nNote\n\n{items}"
    assert one(tmp_path / "a.md", "Note\n\n- item").answer == "Note"


def test_what_is_fenced_is_no_heading(tmp_path: Path) -> None:
    document = one(tmp_path / "my-notes.md", "First.\n\n```\n# a comment\n\nx = 1\n```\n")
    assert (document.title, document.answer) == ("my notes", "First.")
    assert body(document) == "```\n# a comment\n\nx = 1\n```"


def test_plain_text_is_called_by_its_file(tmp_path: Path) -> None:
    document = one(tmp_path / "opening-hours.txt", "\ufeffMonday to Friday.\r\n\r\nNot on Sundays.\f\x01End.")
    assert (document.id, document.title, document.answer) == ("opening-hours", "opening hours", "Monday to Friday.")
    assert body(document) == "Not on Sundays.\n\n End."


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.txt", b"caf\xe9", "a.txt: is not UTF-8 (byte 3): save it as UTF-8"),
        ("a.md", b"\xff", "a.md: is not UTF-8 (byte 0)"),
        ("a.txt", b" \n", "a.txt: has no text"),
        ("a.md", b"# Only\n\n## headings\n", "a.md: has no text"),
        ("a.docx", b"PK", "a.docx: is of no format that can be read: .md"),
        ("a.txt.gz", b"not packed", "a.txt.gz: cannot be read: Not a gzipped file"),
        ("a.jsonl.gz", gzip.compress(b"{}" * 99)[:-9], "a.jsonl.gz: cannot be read: Compressed file ended"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, name: str, content: bytes, problem: str) -> None:
    assert problem in why(tmp_path / name, content)


def test_a_file_that_is_too_large_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LARGEST_FILE", 2**20)
    packed = gzip.compress(b"a" * (2**20 + 1))
    assert "is larger than 1 MB: divide it" in why(tmp_path / "a.txt.gz", packed)


# -- short answers ----------------------------------------------------------------------------------------------------


def test_a_short_text_is_its_own_answer() -> None:
    assert shortened(" Yes.\nNo. ") == ("Yes.\nNo.", "")


def test_a_first_paragraph_is_the_answer() -> None:
    first = SENTENCE.strip()
    assert shortened(f"{first}\n\n{SENTENCE * 20}") == (first, (SENTENCE * 20).strip())


def test_a_long_paragraph_is_cut_at_a_sentence_and_nothing_is_said_twice() -> None:
    answer, rest = shortened(SENTENCE * 20)
    assert 500 < len(answer) <= drafts.SHORT_ANSWER
    assert answer.endswith("mill.")
    assert f"{answer} {rest}" == (SENTENCE * 20).strip()


def test_a_lead_in_is_no_answer() -> None:
    answer, rest = shortened(f"Key points\n\n{SENTENCE * 20}")
    assert answer.startswith("Key points\n\nThe quick")
    assert rest.startswith("The quick")


def test_where_no_sentence_fits_the_rest_is_the_whole() -> None:
    text = "word " * 500 + "end."
    answer, rest = shortened(text)
    assert answer.endswith("word …")
    assert len(answer) <= drafts.SHORT_ANSWER
    assert rest == text


@given(st.text(st.sampled_from("ab .!?\n\u2028é"), max_size=2000))
def test_an_answer_is_bounded_and_no_word_is_lost(text: str) -> None:
    answer, rest = shortened(text)
    assert len(answer) <= drafts.SHORT_ANSWER
    kept = rest if answer.endswith(" …") else f"{answer}\n{rest}"
    assert kept.split() == text.split()


# -- web pages --------------------------------------------------------------------------------------------------------

PAGE = """<!doctype html><html><head><title>Fees | Larkfield</title><style>p {color: red}</style></head><body>
<header><a href="/">Home</a></header><nav><p>Menu</p></nav>
<main><script>alert(1)</script><h1>Fees and <em>limits</em></h1><p>There are <a href="/none">none</a>.</p>
<h2>Abroad</h2><ul><li><p>In euros</p></li><li>In dollars</li></ul><table><tr><th>a<th>b</tr></table>
<p># no heading</p></main>
<footer>About</footer></body></html>"""


@needs_selectolax
def test_a_page_is_its_main_text(tmp_path: Path) -> None:
    document = one(tmp_path / "fees.html", PAGE)
    assert (document.id, document.title, document.answer) == ("fees", "Fees and limits", "There are none.")
    assert body(document) == "## Abroad\n\n- In euros\n- In dollars\n\na | b\n\n\\# no heading"
    assert [document.text[each.start : each.end] for each in passages(document)][1].startswith("## Abroad\n\n- In")


@needs_selectolax
def test_a_page_without_a_main_part_is_read_without_what_is_around(tmp_path: Path) -> None:
    page = "<title>T\n itle</title><header>Top</header><div>One<br>two.</div><aside>Ad</aside><p hidden>No</p><p>Three."
    document = one(tmp_path / "a.htm", page)
    assert (document.title, document.answer, body(document)) == ("T itle", "One two.", "Three.")


@needs_selectolax
@pytest.mark.parametrize(
    ("content", "answer"),
    [
        ("<p>caf\u00e9".encode(), "caf\u00e9"),
        (b"\xef\xbb\xbf<p>caf\xc3\xa9", "caf\u00e9"),
        ('<meta charset="iso-8859-1"><p>caf\u00e9'.encode("latin-1"), "caf\u00e9"),
        ("<p>caf\u00e9".encode("utf-16"), "caf\u00e9"),
        (b"<div>" * 20_000 + b"deep", "deep"),
    ],
)
def test_a_page_says_how_it_is_encoded(tmp_path: Path, content: bytes, answer: str) -> None:
    assert one(tmp_path / "a.html", content).answer == answer


@needs_selectolax
@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"<p>caf\xe9", "is not UTF-8"),
        (b"<meta charset=klingon><p>x", "is not KLINGON"),
        (b"<script>x</script>", "has no text"),
        (b"", "has no text"),
    ],
)
def test_a_page_that_cannot_be_read_is_named(tmp_path: Path, content: bytes, problem: str) -> None:
    assert problem in why(tmp_path / "a.html", content)


# -- PDF --------------------------------------------------------------------------------------------------------------


def pdf(*pages: str, title: str = "") -> bytes:
    """A file with a line of text on each page; none where it is empty."""
    kids = " ".join(f"{4 + 2 * at} 0 R" for at in range(len(pages)))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for at, text in enumerate(pages):
        drawn = f"BT /F1 12 Tf 72 700 Td ({text}) Tj ET" if text else ""
        font = "/Resources << /Font << /F1 3 0 R >> >>"
        objects.append(f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] {font} /Contents {5 + 2 * at} 0 R >>")
        objects.append(f"<< /Length {len(drawn)} >>\nstream\n{drawn}\nendstream")
    objects.append(f"<< /Title ({title}) >>")
    written, offsets = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        offsets.append(len(written))
        written += f"{number} 0 obj\n{content}\nendobj\n".encode()
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    trailer = f"trailer\n<< /Size {len(objects) + 1} /Root 1 0 R /Info {len(objects)} 0 R >>"
    start = len(written)
    return (
        written
        + f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}{trailer}\nstartxref\n{start}\n%%EOF".encode()
    )


def encrypted(content: bytes, password: str) -> bytes:
    from pypdf import PdfReader, PdfWriter

    writer = PdfWriter(PdfReader(io.BytesIO(content)))
    writer.encrypt(password, owner_password="owner", algorithm="RC4-128")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


@needs_pypdf
def test_a_pdf_is_read_page_by_page(tmp_path: Path) -> None:
    document = one(tmp_path / "tariff-2026.pdf", pdf("The first page.", "", "The third page.", title="Our tariff"))
    assert (document.id, document.title, document.answer) == ("tariff-2026", "Our tariff", "The first page.")
    assert body(document) == "## Page 3\n\nThe third page."
    assert one(tmp_path / "tariff-2026.pdf", pdf("Text.")).title == "tariff 2026"


@needs_pypdf
def test_the_rest_of_a_first_page_keeps_its_heading(tmp_path: Path) -> None:
    document = one(tmp_path / "a.pdf", pdf(SENTENCE * 20, "More."))
    assert body(document).startswith("## Page 1\n\nThe quick")
    assert body(document).endswith("## Page 2\n\nMore.")


@needs_pypdf
@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (pdf("", ""), "has no text on its 2 pages, only pictures if any: recognise its text (OCR)"),
        (b"%PDF-1.4\nnonsense", "is a broken PDF file"),
        (b"", "is a broken PDF file"),
        (pdf("Text.")[:300], "is a broken PDF file"),
    ],
)
def test_a_pdf_that_cannot_be_read_is_named(tmp_path: Path, content: bytes, problem: str) -> None:
    assert problem in why(tmp_path / "a.pdf", content)


@needs_pypdf
def test_an_encrypted_pdf_is_named_unless_it_opens_without_a_password(tmp_path: Path) -> None:
    assert "is encrypted: save it without a password" in why(tmp_path / "a.pdf", encrypted(pdf("Text."), "secret"))
    assert one(tmp_path / "a.pdf", encrypted(pdf("Text."), "")).answer == "Text."


def test_a_format_without_its_parser_is_named_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ModuleNotFoundError(name, name="pypdf" if name.endswith(".pdf") else "selectolax.lexbor")

    monkeypatch.setattr(files.importlib, "import_module", absent)  # type: ignore[attr-defined]
    for name in ("a.pdf", "b.pdf", "c.pdf", "d.html", "e.txt"):
        (tmp_path / name).write_text("Text.")
    found = list(Reading([tmp_path]))
    bad = [each for each in found if isinstance(each, Bad)]
    assert [str(each).removeprefix(f"{tmp_path}/") for each in bad] == [
        "a.pdf: reading it needs the package pypdf, and 2 more files: pip install 'cascade-gateway[documents]'",
        "d.html: reading it needs the package selectolax: pip install 'cascade-gateway[documents]'",
    ]
    assert [each.count for each in bad] == [3, 1]
    assert len(found) == 3


# -- records ----------------------------------------------------------------------------------------------------------

PAIR = {
    "id": "7_0000001_1_1",
    "source": "Made up",
    "uri": "https://health.example/hiccups",
    "focus": "Hiccups",
    "qtype": "treatment",
    "question": "How are  hiccups treated ?",
    "answer": "Hold your breath.",
}


def test_a_pair_is_a_document_whose_title_is_the_question(tmp_path: Path) -> None:
    document = one(tmp_path / "a.jsonl", lines(PAIR))
    assert document == Document(
        "7_0000001_1_1", "How are hiccups treated ?", PAIR["uri"], "", "Hold your breath.", "Hold your breath.\n\n\n"
    )


def test_a_long_answer_of_a_pair_is_shortened_and_the_rest_is_the_body(tmp_path: Path) -> None:
    long = f"Key points\n                  - {SENTENCE}   - {SENTENCE}\n        \n     \n   {SENTENCE * 200}"
    document = one(tmp_path / "a.jsonl", lines(PAIR | {"answer": long}))
    assert len(document.answer) <= drafts.SHORT_ANSWER
    assert document.text.split() == long.split()
    assert "  " not in document.text


def test_a_pair_without_an_id_is_called_by_its_question(tmp_path: Path) -> None:
    pair = {"question": "Où est la \u20ac-carte ?", "answer": "A."}
    (tmp_path / "a.jsonl").write_text(lines(pair, pair | {"answer": "B."}, pair | {"question": "\u4f55?"}, pair))
    good, bad = read(tmp_path / "a.jsonl")
    assert good[0].id == "ou-est-la-carte"
    assert good[1].id.startswith("ou-est-la-carte-")
    assert good[2].id.startswith("document-")
    assert len(good) == 3
    assert len(bad) == 1
    assert f"is that of {tmp_path}/a.jsonl:1 too" in bad[0]


def test_pairs_under_one_id_are_told_apart_and_the_same_pair_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(lines(PAIR, PAIR | {"answer": "Drink."}, PAIR | {"answer": "Drink."}))
    good, bad = read(tmp_path / "a.jsonl")
    assert [each.id[:14] for each in good] == ["7_0000001_1_1", "7_0000001_1_1-"]
    assert len(bad) == 1
    assert f"a.jsonl:3: its id {good[1].id} is that of {tmp_path}/a.jsonl:2 too" in bad[0]


def test_ids_that_were_given_are_not_changed(tmp_path: Path) -> None:
    first, second = ({"id": "A.b-1", "title": "T", "answer": answer} for answer in ("One.", "Two."))
    (tmp_path / "a.jsonl").write_text(lines(first))
    (tmp_path / "b.jsonl").write_text(lines(second, second | {"id": "x/ y"}))
    good, bad = read(tmp_path)
    assert [each.id for each in good] == ["A.b-1", "x-y"]
    assert bad == [f"{tmp_path}/b.jsonl:1: its id A.b-1 is that of {tmp_path}/a.jsonl:1 too: give it another one"]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"{", "is not JSON"),
        (b"[1]", "is no JSON object"),
        (b"[" * 100_000, "is not JSON"),
        (b'{"title": "\xff"}', "is not UTF-8 (byte 11)"),
        (b'{"title": "T"}', "lacks an answer"),
        (b'{"answer": "A."}', "lacks a title, or a question"),
        (b'{"title": ["T"], "answer": "A."}', "title must be a text, not list"),
        (b'{"title": "T", "answer": "\\ud800"}', "answer has what is not UTF-8"),
        (b'{"title": "T", "answer": "A.", "groups": "staff"}', "groups must be a list of names"),
        (b'{"title": "T", "answer": "A.", "groups": ["staff", ""]}', "groups must be a list of names"),
        (b'{"title": "T", "answer": "A.", "group": "staff"}', "has the key 'group': it must be called groups"),
        (b'{"title": "T", "answer": "A.", "Groups": ["staff"]}', "has the key 'Groups'"),
        (b'{"title": "T", "answer": "A.", "Expires": "2026-01-01"}', "has the key 'Expires'"),
        (b'{"title": "T", "answer": "A.", "expires": 1767225600}', "expires must be a date"),
    ],
)
def test_a_bad_line_is_named_and_the_others_go_in(tmp_path: Path, line: bytes, problem: str) -> None:
    good = lines({"id": "a", "title": "T", "answer": "A."}).encode()
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + good + b"\n" + line + b"\n" + good.replace(b'"a"', b'"b"'))
    documents, bad = read(tmp_path / "a.jsonl")
    assert [each.id for each in documents] == ["a", "b"]
    assert len(bad) == 1
    assert f"a.jsonl:3: {problem}" in bad[0]


def test_a_line_without_end_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.knowledge.reading.records.LONGEST_LINE", 100)
    (tmp_path / "a.jsonl").write_text("x" * 1000 + "\n" + lines({"id": "a", "title": "T", "answer": "A."}))
    documents, bad = read(tmp_path / "a.jsonl")
    assert [each.id for each in documents] == ["a"]
    assert "a.jsonl:1: is longer than 100 bytes" in bad[0]


def test_a_table_names_its_columns(tmp_path: Path) -> None:
    header = "\ufeffID, Title ,uri,updated,answer,body,groups,more\r\n"
    row = 'a,T,u,2026,"He said ""no"",\nthen.",B,staff; legal,x\r\n'
    document = one(tmp_path / "a.csv", header + row)
    assert document == Document(
        "a", "T", "u", "2026", 'He said "no", then.', 'He said "no", then.\n\nB\n', frozenset({"staff", "legal"})
    )
    assert one(tmp_path / "a.tsv", "question\tanswer\nWhy?\tSo, then.\n").answer == "So, then."


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "a.csv: is empty: the first row must name the columns"),
        (b"a,b\n1,2\n", "a.csv:1: must name the columns title (or question) and answer (or body)"),
        (b"title,answer,group\nT,A.,staff\n", "a.csv:1: has the column group: it must be called groups"),
        (b"title,answer,title\nT,A.,T\n", "a.csv:1: names the column title twice"),
        (b"title,answer\nT\n", "a.csv:2: has 1 fields and the header 2"),
        (b"title,answer\nT,A,B\n", "a.csv:2: has 3 fields and the header 2"),
        (b'title,answer\nT,"A"B\n', "a.csv:2: is no row of a table"),
        (b'title,answer\nT,"A\n\n', "a.csv:3: is no row of a table: unexpected end of data"),
        (b"title,answer\nT,\xff\n", "a.csv:2: answer has what is not UTF-8"),
        (b"title,answer\nT,\n", "a.csv:2: lacks an answer"),
        (b"title,answer,groups\nT,A.,staff;\n", "a.csv:2: groups must be a list of names"),
        (b"title,answer,groups\nT,A., \n", "a.csv:2: groups must be a list of names"),
        (b"title,answer,groups\nT,A.,;\n", "a.csv:2: groups must be a list of names"),
        (b"title,answer,effective\nT,A.,soon\n", "a.csv:2: effective must be a date"),
    ],
)
def test_what_is_wrong_with_a_table_is_named(tmp_path: Path, content: bytes, problem: str) -> None:
    assert problem in why(tmp_path / "a.csv", content)


def test_rows_after_a_bad_one_go_in(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('title,answer\nT,"A"B\nU,A.\n')
    documents, bad = read(tmp_path / "a.csv")
    assert ([each.id for each in documents], len(bad)) == (["u"], 1)


def test_an_answer_that_is_too_long_for_the_api_is_shortened_wherever_it_comes_from(tmp_path: Path) -> None:
    kept = one(tmp_path / "a.jsonl", lines({"title": "T", "answer": (SENTENCE * 50).strip(), "body": "B."}))
    assert (kept.answer, body(kept)) == ((SENTENCE * 50).strip(), "B.")
    long = one(tmp_path / "a.jsonl", lines({"title": "T", "answer": SENTENCE * 500, "body": "B."}))
    assert len(long.answer) <= drafts.SHORT_ANSWER
    assert body(long).endswith("mill.\n\nB.")


def test_the_bounds_here_are_the_apis() -> None:
    longest = "a" * drafts.LONGEST_ANSWER
    where, fields = drafts.Where(Path("a")), drafts.Fields("T" * drafts.LONGEST_NAME, longest)
    made = drafts.found(where, "", "a" * 500, fields)
    editing.document_of(document_to_proto(made.under_spare().document))
    with pytest.raises(InvalidQuestion, match="answer: has 10001 characters, limit 10000"):
        editing.document_of(document_to_proto(replace(made.document, answer=longest + "a")))
    for given_id in ("A.b-1_" + "x" * 122, "A" * 129, ".a", "a b"):
        is_kept = drafts.found(where, given_id, "T", fields).document.id == given_id
        message = document_to_proto(replace(made.document, id=given_id))
        with nullcontext() if is_kept else pytest.raises(InvalidQuestion, match="id: must be"):
            editing.document_of(message)


# What the API takes: a document in its own words.
TEXTS = st.text(st.characters(exclude_categories=("Cs", "Cc")) | st.sampled_from("\n\t"), max_size=60)
SAID = TEXTS.map(lambda text: f"a{text}")
NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)
PRINTED = st.text(st.characters(categories=("L", "N", "P")), max_size=20)
STORED = st.builds(
    lambda answer, text, **given: Document(
        answer=" ".join(answer.split()), text=f"{' '.join(answer.split())}\n\n{text.strip()}\n", **given
    ),
    id=NAMES,
    title=SAID,
    uri=PRINTED,
    updated=PRINTED,
    answer=SAID,
    text=TEXTS,
    groups=st.frozensets(NAMES, max_size=3),
    effective=st.sampled_from([0.0, 1.5, 1_767_225_600.0]),
    expires=st.sampled_from([math.inf, 1_767_225_600.000001, 250_000_000_000.125]),
)
STORES = st.lists(STORED, max_size=5, unique_by=lambda each: each.id)


def exported(document: Document) -> dict[str, object]:
    return shown(Kept(document, 3))


def kept(path: Path, content: bytes) -> list[Document]:
    path.write_bytes(content)
    found, bad = read(path)
    assert not bad
    assert [document_from_proto(document_to_proto(each)) for each in found] == found
    return found


@given(STORES, st.booleans())
def test_what_is_exported_is_imported_as_it_was(stored: list[Document], is_packed: bool) -> None:
    content = "".join(json.dumps(exported(each), ensure_ascii=False) + "\n" for each in stored).encode()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.jsonl.gz" if is_packed else "a.jsonl")
        assert kept(path, gzip.compress(content) if is_packed else content) == stored


@given(STORES, st.sampled_from([(".csv", ","), (".tsv", "\t")]))
def test_a_table_is_imported_as_it_was_written(stored: list[Document], kind: tuple[str, str]) -> None:
    suffix, delimiter = kind
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter)
    writer.writerow(["id", "title", "uri", "updated", "answer", "body", "effective", "expires", "groups"])
    for each in stored:
        row = exported(each)
        fields = ("id", "title", "uri", "updated", "answer", "body", "effective", "expires")
        cells = [row.get(name, "") for name in fields]
        writer.writerow([*cells, ";".join(sorted(each.groups))])
    with tempfile.TemporaryDirectory() as folder:
        assert kept(Path(folder, f"a{suffix}"), out.getvalue().encode()) == stored


# -- folders ----------------------------------------------------------------------------------------------------------


def test_a_folder_is_read_with_all_in_it_but_not_what_is_for_people(tmp_path: Path) -> None:
    for name in ("b/z.txt", "a.md", "README.md", "b/README.md", ".git/x.txt", "b/.hidden.txt", "b/c/y.jsonl"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(lines(PAIR) if name.endswith("jsonl") else "Text.")
    for name in ("logo.png", "b/logo.PNG", "Makefile"):
        (tmp_path / name).write_bytes(b"\x00")
    reading = Reading([tmp_path])
    assert [each.document.id for each in reading if not isinstance(each, Bad)] == ["a", "b-z", "7_0000001_1_1"]
    assert dict(reading.left_out) == {".png": 2, "Makefile": 1}


def test_files_of_one_name_are_told_apart_and_the_same_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("Text.")
    (tmp_path / "a.txt").write_text("Other.")
    good, bad = read(tmp_path, tmp_path / "a.md")
    assert [each.id[:2] for each in good] == ["a", "a-"]
    assert len(bad) == 1


def test_a_folder_without_anything_to_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "logo.png").write_bytes(b"")
    assert "holds no file that can be read (.md" in read(tmp_path)[1][0]


def test_a_file_is_read_as_it_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(lines(*({"id": str(at), "title": "T", "answer": "A."} for at in range(3))))
    reading = iter(Reading([path, tmp_path / "gone.txt"]))
    assert isinstance(next(reading), drafts.Found)
    assert "gone.txt: is no regular file" in [str(each) for each in reading][-1]


@pytest.mark.parametrize(
    ("name", "expected"), [("Caf\u00e9 & \u00d8l", "cafe-l"), ("A  b/c.d", "a-b-c-d"), ("", ""), ("x" * 300, "x" * 100)]
)
def test_an_identifier_is_short_and_plain(name: str, expected: str) -> None:
    assert identifier(name) == expected
