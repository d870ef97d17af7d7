"""Documents: what an article must say, how it is divided, and that the shipped ones keep to it."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import DocumentInvalid
from gateway.knowledge.documents import MAX_CHARS, MAX_WORDS, passages, plain_text, read, read_folder, slug
from gateway.types import Document

FRONT = {
    "id": "fees",
    "title": "Fees",
    "uri": "https://help.example/fees",
    "updated": "2026-01-02",
    "answer": "There are none.",
}
SHIPPED = Path(__file__).parent.parent / "index" / "banking"


def written(folder: Path, body: str = "Really none.", name: str = "fees.md", **changes: str) -> Path:
    lines = [f"{key}: {value}" for key, value in (FRONT | changes).items() if value]
    path = folder / name
    path.write_text("---\n" + "\n".join(lines) + f"\n---\n{body}\n", encoding="utf-8")
    return path


def document(body: str, answer: str = "There are none.") -> Document:
    return Document("fees", "Fees", "https://help.example/fees", "2026-01-02", answer, f"{answer}\n\n{body}\n")


def words(count: int, sentence: int) -> str:
    """`count` words in sentences of `sentence` words."""
    return " ".join(f"word{at}." if (at + 1) % sentence == 0 else f"word{at}" for at in range(count))


def test_an_article_is_its_answer_and_its_body(tmp_path: Path) -> None:
    article = read(written(tmp_path))
    assert (article.id, article.title, article.updated) == ("fees", "Fees", "2026-01-02")
    assert article.text == "There are none.\n\nReally none.\n"
    assert article.groups == frozenset()


def test_groups_are_read(tmp_path: Path) -> None:
    assert read(written(tmp_path, groups="[staff, legal]")).groups == {"staff", "legal"}


@pytest.mark.parametrize("groups", ["staff", "3", "false", "''", "[staff, 3]", "[staff, '']", "{staff: legal}"])
def test_groups_must_be_a_list_of_names(tmp_path: Path, groups: str) -> None:
    with pytest.raises(DocumentInvalid, match=r"fees\.md: groups must be a list of names"):
        read(written(tmp_path, groups=groups))


def test_dates_are_read(tmp_path: Path) -> None:
    assert (read(written(tmp_path)).effective, read(written(tmp_path)).expires) == (0.0, math.inf)
    article = read(written(tmp_path, effective="2026-01-01", expires="2026-01-01T12:00:00+02:00"))
    assert (article.effective, article.expires) == (1_767_225_600, 1_767_225_600 + 36_000)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"effective": "soon"}, "front matter: effective must be a date"),
        ({"expires": "20260101"}, "front matter: expires must be a date"),
        ({"expires": "2026-02-30"}, "front matter is not YAML: day is out of range"),
        ({"effective": "2026-01-02", "expires": "2026-01-01"}, "front matter: expires must be after effective"),
        ({"group": "[staff]"}, "front matter: has the key 'group': it must be called groups"),
        ({"Groups": "[staff]"}, "front matter: has the key 'Groups': it must be called groups"),
        ({"Expires": "2026-01-01"}, "front matter: has the key 'Expires': it must be called expires"),
    ],
)
def test_what_would_show_an_article_to_too_many_is_refused(
    tmp_path: Path, changes: dict[str, str], problem: str
) -> None:
    with pytest.raises(DocumentInvalid, match=rf"fees\.md: {problem}"):
        read(written(tmp_path, **changes))


def test_an_answer_over_several_lines_becomes_one(tmp_path: Path) -> None:
    assert read(written(tmp_path, answer=">\n  There are\n  none.")).answer == "There are none."


@pytest.mark.parametrize("field", list(FRONT))
def test_errors_name_the_file_and_the_field(tmp_path: Path, field: str) -> None:
    with pytest.raises(DocumentInvalid, match=rf"fees\.md: front matter lacks {field}$"):
        read(written(tmp_path, **{field: ""}))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"no front matter", "must open with front matter"),
        (b"---\nid: [\n---\nbody", "is not YAML"),
        (b"---\njust words\n---\nbody", "lacks id, title, uri, updated, answer"),
        (b"---\nid: \xff\n---\n", "not readable"),
    ],
)
def test_a_broken_article_is_named(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "broken.md"
    path.write_bytes(content)
    with pytest.raises(DocumentInvalid, match=problem) as caught:
        read(path)
    assert str(path) in str(caught.value)


def test_a_folder_is_read_in_order_without_its_readme(tmp_path: Path) -> None:
    written(tmp_path, name="b.md", id="b")
    written(tmp_path, name="a.md", id="a")
    (tmp_path / "README.md").write_text("for people")
    assert [one.id for one in read_folder(tmp_path)] == ["a", "b"]


def test_two_articles_of_one_id_are_refused(tmp_path: Path) -> None:
    written(tmp_path, name="a.md")
    written(tmp_path, name="b.md")
    with pytest.raises(DocumentInvalid, match="used twice: fees"):
        read_folder(tmp_path)


def test_a_folder_without_articles_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DocumentInvalid, match="holds no articles"):
        read_folder(tmp_path)
    with pytest.raises(DocumentInvalid, match="no such collection folder"):
        read_folder(tmp_path / "absent")


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("card_arrival", "card-arrival"),
        ("Refund_not_showing_up", "refund-not-showing-up"),
        ("top_up_by_bank  (charge)?", "top-up-by-bank-charge"),
        ("card-arrival", "card-arrival"),
    ],
)
def test_a_slug_is_lower_case_with_single_hyphens(label: str, name: str) -> None:
    assert slug(label) == name


@pytest.mark.parametrize(
    ("markdown", "plain"),
    [
        ("## What to *do*\n\n- **Call** us\n1. `now`", "What to do Call us now"),
        ("See [the page](https://x.example/a_b).", "See the page."),
        ("3 to 5 days - at most", "3 to 5 days - at most"),
    ],
)
def test_plain_text_takes_markup_off(markdown: str, plain: str) -> None:
    assert plain_text(markdown) == plain


def test_the_first_passage_is_the_answer_with_the_title() -> None:
    article = document("A body.")
    first = passages(article)[0]
    assert article.text[first.start : first.end] == article.answer
    assert first.plain == "Fees. There are none."


def test_a_heading_stays_with_the_long_paragraph_that_it_heads() -> None:
    long = " ".join(f"Sentence {number} has six words here." for number in range(12))
    article = document(f"## A heading\n\n{long}")
    found = [article.text[one.start : one.end] for one in passages(article)][1:]
    assert len(found) > 1
    assert found[0].startswith("## A heading\n\nSentence 0 has")
    assert not any(one.strip() == "## A heading" for one in found)


def test_short_blocks_are_joined_and_a_heading_opens_a_passage() -> None:
    article = document("One block.\n\nAnother block.\n\n## A heading\n\nIts text.")
    found = [article.text[one.start : one.end] for one in passages(article)[1:]]
    assert found == ["One block.\n\nAnother block.", "## A heading\n\nIts text."]


def test_a_long_block_is_cut_at_sentences() -> None:
    article = document(words(200, 20))
    found = passages(article)[1:]
    assert [len(article.text[one.start : one.end].split()) for one in found] == [60, 60, 60, 20]
    assert all(article.text[one.start : one.end].endswith(".") for one in found)


BODIES = st.lists(
    st.text(st.sampled_from("ab .!?\n#-*[]()`é\u2028"), max_size=40)
    | st.builds(words, st.integers(1, 150), st.integers(1, 25)),
    max_size=6,
).map("\n\n".join)


@given(BODIES)
def test_passages_are_increasing_spans_of_the_text(body: str) -> None:
    article = document(body)
    end = 0
    for number, one in enumerate(passages(article)):
        assert one.number == number
        assert end <= one.start < one.end <= len(article.text)
        assert not article.text[one.start : one.end].isspace()
        end = one.end


@given(BODIES)
def test_no_word_of_the_body_is_left_out(body: str) -> None:
    article = document(body)
    kept = " ".join(article.text[one.start : one.end] for one in passages(article))
    assert [one for one in article.text.split() if one.startswith("word")] == [
        one for one in kept.split() if one.startswith("word")
    ]


@given(st.integers(1, 400), st.integers(1, 50))
def test_no_passage_is_longer_than_the_bound_and_a_sentence(count: int, sentence: int) -> None:
    article = document(words(count, sentence))
    sizes = [len(article.text[one.start : one.end].split()) for one in passages(article)]
    assert max(sizes) <= max(MAX_WORDS, sentence)


def test_the_content_hash_is_of_what_a_reader_sees() -> None:
    article = document("A body.")
    moved = Document(**{name: getattr(article, name) for name in Document.__slots__} | {"updated": "2027-01-01"})
    assert moved.content_hash == article.content_hash
    assert document("Another body.").content_hash != article.content_hash


@pytest.fixture(scope="module")
def shipped() -> list[Document]:
    return read_folder(SHIPPED)


def test_shipped_articles_are_named_by_their_ids(shipped: list[Document]) -> None:
    assert [one.id for one in shipped] == [
        path.stem for path in sorted(SHIPPED.glob("*.md")) if path.name != "README.md"
    ]
    assert all(slug(one.id) == one.id for one in shipped)


def test_shipped_uris_are_unique(shipped: list[Document]) -> None:
    assert [one.uri for one in shipped] == [f"https://help.larkfield.example/{one.id}" for one in shipped]


def test_shipped_bodies_are_of_the_promised_length(shipped: list[Document]) -> None:
    lengths = {one.id: len(one.text.removeprefix(one.answer).split()) for one in shipped}
    assert {name: length for name, length in lengths.items() if not 80 <= length <= 250} == {}


def test_shipped_passages_fit_the_encoder(shipped: list[Document]) -> None:
    longest = {one.id: max(len(passage.plain.split()) for passage in passages(one)) for one in shipped}
    assert {name: size for name, size in longest.items() if size > 2 * MAX_WORDS} == {}


@pytest.mark.parametrize("text", ["a" + "\n" * 200_000 + "b", "[" * 200_000, "#" * 200_000, " \n" * 100_000 + "x"])
def test_no_text_takes_its_length_squared(text: str) -> None:
    """With a squared one this would take hours; the suite's own timeout is the bound."""
    document = Document("a", "T", "", "", "A.", f"A.\n\n{text}\n")
    assert passages(document)[0].plain == "T. A."


@pytest.mark.parametrize("text", ["| cell | cell |\n" * 900, "这是一个很长的句子。" * 900, "x" * 9000, "word " * 3000])
def test_no_passage_is_longer_than_what_can_be_read_at_once(text: str) -> None:
    found = passages(Document("a", "T", "", "", "Short.", f"Short.\n\n{text.strip()}\n"))
    assert max(one.end - one.start for one in found) <= MAX_CHARS
    body = f"Short.\n\n{text.strip()}\n"
    covered = "".join(body[one.start : one.end] for one in found)
    assert covered.replace("\n", "").replace(" ", "") == body.replace("\n", "").replace(" ", "")
