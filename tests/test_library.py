"""The knowledge tier: what is found, what may be read, and what stands in a citation."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import SearchFailed, UnknownCollection
from gateway.knowledge.citing import cite
from gateway.knowledge.documents import passages
from gateway.knowledge.generation import MOST_RANKED, Generation
from gateway.knowledge.library import Library, may_read
from gateway.types import Document, Matrix, Pass, Prediction, Principal, Ranker, Standing

WORDS = ("card", "fee", "pin", "loan", "post", "limit", "app", "tax")
NOBODY = Principal()
STAFF = Principal("acme", frozenset({"staff"}))


def embed(texts: Sequence[str]) -> Matrix:
    """Unit vectors [texts, words + 1] of how often each of WORDS is in a text; the last is for all other words."""
    counts = np.array([[text.lower().count(word) for word in WORDS] + [0.1] for text in texts], np.float32)
    return np.asarray(counts / np.linalg.norm(counts, axis=1, keepdims=True), np.float32)


def document(name: str, body: str, groups: frozenset[str] = frozenset()) -> Document:
    answer = f"About the {name}."
    return Document(name, name, f"https://help.example/{name}", "2026-01-01", answer, f"{answer}\n\n{body}\n", groups)


CARD = document("card", "A card comes by post.\n\n## Lost\n\nA lost card is replaced.")
FEE = document("fee", "A fee is taken for cash.\n\n## Tax\n\nNo tax is taken.")
SECRET = document("loan", "A loan is approved by staff, by this rule: card first.", frozenset({"staff", "risk"}))
DOCUMENTS = (CARD, FEE, SECRET)


@pytest.fixture(scope="module", params=[0, 1024], ids=["graph", "scan"])
def library(request: pytest.FixtureRequest) -> Library:
    return Library({"banking": Generation.build(DOCUMENTS, embed, version=7, exact_up_to=request.param)})


def query(text: str) -> Prediction:
    return Prediction.alone(np.zeros(1, np.float32), embed([text])[0])


def test_the_nearest_document_comes_first(library: Library) -> None:
    evidence = library.search("banking", "which fee?", query("which fee?"), NOBODY, 2, 1)
    assert [hit.document.id for hit in evidence.hits] == ["fee", "card"]
    assert evidence.knowledge_version == 7


def test_a_ranking_is_in_the_order_of_a_search_by_meaning(library: Library) -> None:
    ranking = library.rank("banking", query("card fee loan"), STAFF, 3)
    asked = query("card fee loan")
    evidence = library.search("banking", "card fee loan", asked, STAFF, 3, 1, Ranker.DENSE)
    assert [one for one, _ in ranking.documents] == [hit.document.id for hit in evidence.hits]
    assert ranking.knowledge_version == 7


def test_a_ranking_has_the_documents_that_were_named_however_far() -> None:
    many = [document(f"fee {number}", "A fee.\n\nA fee.") for number in range(9)]
    library = Library({"x": Generation.build([*many, document("card", "By post.")], embed, exact_up_to=0)})
    assert "card" not in dict(library.rank("x", query("fee"), NOBODY, 1).documents)
    ranked = library.rank("x", query("fee"), NOBODY, 1, ("card", "gone")).documents
    assert ranked[-1][0] == "card"
    assert "gone" not in dict(ranked)


def test_a_ranking_by_scan_has_the_nearest_documents_and_the_named() -> None:
    many = [document(f"fee {number}", "A fee.") for number in range(MOST_RANKED)]
    library = Library({"x": Generation.build([*many, document("card", "By post."), document("tax", "")], embed)})
    assert {one for one, _ in library.rank("x", query("fee"), NOBODY, 1).documents} == {one.id for one in many}
    ranked = library.rank("x", query("fee"), NOBODY, 1, ("card", "gone")).documents
    assert (len(ranked), ranked[-1][0]) == (MOST_RANKED + 1, "card")


@given(st.lists(st.sampled_from(WORDS), min_size=1, max_size=12), st.sets(st.sampled_from("abc"), max_size=2))
def test_scan_and_graph_rank_alike(words: list[str], mine: set[str]) -> None:
    documents = [
        document(
            f"{word}-{at}",
            f"The {word}.\n\n## {words[at - 1]}\n\nA {words[at - 1]}.",
            frozenset("abc"[at % 4 : at % 4 + 1]),
        )
        for at, word in enumerate(words)
    ]
    scan, graph = (Library({"x": Generation.build(documents, embed, exact_up_to=most)}) for most in (1024, 0))
    asked, principal = query(" ".join(words)), Principal("acme", frozenset(mine))
    first, second = (dict(one.rank("x", asked, principal, 99).documents) for one in (scan, graph))
    assert first == pytest.approx(second, abs=1e-6)


def test_a_long_document_does_not_crowd_out_the_others() -> None:
    long = document("fee", "\n\n".join(["## Fee\n\nA fee is taken."] * 40))
    documents = [long, document("card", "By post."), document("tax", "A tax.")]
    library = Library({"x": Generation.build(documents, embed, exact_up_to=0)})
    assert len(library.rank("x", query("fee"), NOBODY, 2).documents) >= 2
    assert len(library.rank("x", query("fee"), NOBODY, 9).documents) == 3


def test_a_named_document_without_a_passage_is_not_ranked() -> None:
    bare = replace(document("card", ""), answer="**", text="**\n")
    library = Library({"x": Generation.build([document("fee", "A fee."), bare], embed)})
    assert [one for one, _ in library.rank("x", query("fee"), NOBODY, 1, ("card",)).documents] == ["fee"]


def test_a_named_document_that_may_not_be_read_is_not_ranked(library: Library) -> None:
    assert "loan" not in dict(library.rank("banking", query("loan"), NOBODY, 1, ("loan",)).documents)
    assert "loan" in dict(library.rank("banking", query("loan"), STAFF, 1, ("loan",)).documents)


def test_a_document_is_as_near_as_its_nearest_passage_and_its_average(library: Library) -> None:
    ((_, near), *_) = library.rank("banking", query("card"), NOBODY, 1).documents
    cosines = embed([passage.plain for passage in passages(CARD)]) @ query("card").embedding
    assert near == pytest.approx((cosines.max() + cosines.mean()) / 2)


def test_a_search_looks_at_the_title_too(library: Library) -> None:
    ((_, near), *_) = library.rank("banking", query("card"), NOBODY, 1).documents
    hit = library.search("banking", "card", query("card"), NOBODY, 1, 1).hits[0]
    (title,) = embed([CARD.title]) @ query("card").embedding
    assert hit.similarity == pytest.approx((near + title) / 2)


def test_documents_that_say_the_same_are_shown_once(library: Library) -> None:
    staff: frozenset[str] = frozenset({"staff"})
    twins = [
        replace(CARD, id=name, groups=groups)
        for name, groups in (("a", staff), ("b", NOBODY.groups), ("c", NOBODY.groups))
    ]
    both = Library({"x": Generation.build([*twins, FEE], embed)})
    asked = query("card")
    assert [hit.document.id for hit in both.search("x", "card", asked, STAFF, 2, 1).hits] == ["a", "fee"]
    assert [hit.document.id for hit in both.search("x", "card", asked, NOBODY, 2, 1).hits] == ["b", "fee"]


def test_citations_are_the_nearest_passages_first(library: Library) -> None:
    hit = library.search("banking", "post", query("post"), NOBODY, 1, 2).hits[0]
    assert hit.citations[0].quote == "A card comes by post."
    assert len(hit.citations) == 2


def test_a_quote_stands_in_the_document_and_has_the_right_hash(library: Library) -> None:
    evidence = library.search("banking", "card fee loan", query("card fee loan"), STAFF, 3, 9)
    assert len(evidence.hits) == 3
    for hit in evidence.hits:
        for one in hit.citations:
            assert hit.document.text[one.start : one.end] == one.quote
            assert one.quote_sha256 == hashlib.sha256(one.quote.encode()).hexdigest()
            assert (one.document_id, one.uri) == (hit.document.id, hit.document.uri)


def test_a_passage_outside_of_its_document_is_never_cited() -> None:
    with pytest.raises(SearchFailed, match="outside"):
        cite(CARD, 0, len(CARD.text) - 2, len(CARD.text) + 2, 0.5)


@pytest.mark.parametrize(
    ("groups", "principal", "may"),
    [
        (frozenset(), NOBODY, True),
        (frozenset(), STAFF, True),
        (frozenset({"staff"}), STAFF, True),
        (frozenset({"staff", "risk"}), STAFF, True),
        (frozenset({"risk"}), STAFF, False),
        (frozenset({"staff"}), NOBODY, False),
        (frozenset({""}), NOBODY, False),
        (frozenset({"acme"}), STAFF, False),
    ],
)
def test_groups_fail_closed(groups: frozenset[str], principal: Principal, may: bool) -> None:
    assert may_read(document("x", "", groups), principal) is may


def test_what_may_not_be_read_is_not_found(library: Library) -> None:
    asked = query("which loan rule?")
    assert "loan" not in {hit.document.id for hit in library.search("banking", "loan", asked, NOBODY, 9, 1).hits}
    assert library.search("banking", "loan", asked, STAFF, 9, 1).hits[0].document.id == "loan"


@given(st.lists(st.sets(st.sampled_from("abc")), min_size=1, max_size=8), st.sets(st.sampled_from("abcd")))
def test_no_search_shows_what_may_not_be_read(groups: list[set[str]], mine: set[str]) -> None:
    documents = [document(f"card-{at}", "A card.", frozenset(some)) for at, some in enumerate(groups)]
    principal = Principal("acme", frozenset(mine))
    for most in (0, 1024):
        library = Library({"x": Generation.build(documents, embed, exact_up_to=most)})
        found = {hit.document.id for hit in library.search("x", "card", query("card"), principal, 9, 1).hits}
        assert found == {one.id for one in documents if not one.groups or one.groups & mine}


@pytest.mark.parametrize(
    ("document_id", "known", "principal", "standing"),
    [
        ("card", CARD.content_hash, NOBODY, Standing.CURRENT),
        ("card", "", NOBODY, Standing.CURRENT),
        ("card", FEE.content_hash, NOBODY, Standing.CHANGED),
        ("gone", CARD.content_hash, NOBODY, Standing.WITHDRAWN),
        ("loan", SECRET.content_hash, NOBODY, Standing.FORBIDDEN),
        ("loan", CARD.content_hash, NOBODY, Standing.FORBIDDEN),
        ("loan", SECRET.content_hash, STAFF, Standing.CURRENT),
    ],
)
def test_standing(library: Library, document_id: str, known: str, principal: Principal, standing: Standing) -> None:
    assert library.standing("banking", document_id, known, principal) is standing


def test_reading_gives_the_document_with_its_nearest_passage(library: Library) -> None:
    hit = library.read("banking", "card", query("post"), NOBODY, 1)
    assert hit is not None
    assert (hit.document, hit.citations[0].quote) == (CARD, "A card comes by post.")


def test_what_is_not_in_time_is_as_if_it_were_not_there() -> None:
    clock = [0.0]
    dated = replace(CARD, effective=60.0, expires=70.0)
    library = Library({"x": Generation.build([dated, FEE], embed)}, now=lambda: clock[0])
    for clock[0], is_there in ((59.9, False), (60.0, True), (69.9, True), (70.0, False)):
        hits = library.search("x", "card", query("card"), NOBODY, 9, 1).hits
        assert ("card" in {hit.document.id for hit in hits}) is is_there
        assert (library.standing("x", "card", "", NOBODY) is Standing.CURRENT) is is_there
        assert (library.read("x", "card", query("card"), NOBODY, 1) is not None) is is_there
        assert library.counts("x", NOBODY)[0] == 1 + is_there


def test_it_says_since_when_the_same_documents_are_in_time() -> None:
    clock = [0.0]
    first = Generation.build([replace(CARD, effective=10.0, expires=30.0), replace(FEE, expires=20.0)], embed)
    library = Library({"x": first, "always": Generation.build([CARD], embed)}, now=lambda: clock[0])
    for clock[0], since in ((5.0, 0.0), (10.0, 10.0), (19.9, 10.0), (20.0, 20.0), (99.0, 30.0), (15.0, 10.0)):
        assert library.since("x") == since
        assert library.since("always") == 0.0
    library.replace("x", Generation.build([replace(CARD, effective=12.0)], embed, 2))
    assert library.since("x") == 12.0
    library.remove("x")
    with pytest.raises(UnknownCollection):
        library.since("x")
    library.replace("x", first)
    assert library.since("x") == 10.0


def test_a_hit_says_what_it_was_ranked_by(library: Library) -> None:
    scores = {
        ranker: library.search("banking", "card", query("card"), NOBODY, 1, 1, ranker).hits[0] for ranker in Ranker
    }
    near = {hit.similarity for hit in scores.values()}
    assert len(near) == 1
    assert scores[Ranker.DENSE].score == near.pop()
    assert 0 < scores[Ranker.LEXICAL].score <= 1
    assert scores[Ranker.HYBRID].score == pytest.approx(scores[Ranker.DENSE].score + scores[Ranker.LEXICAL].score)


@pytest.mark.parametrize("document_id", ["loan", "gone"])
def test_reading_what_is_forbidden_or_gone_is_none(library: Library, document_id: str) -> None:
    assert library.read("banking", document_id, query("loan"), NOBODY, 1) is None


def test_reading_a_document_without_passages_is_none() -> None:
    library = Library({"banking": Generation.build([CARD, Document("blank", "blank", "", "", "", "# \n")], embed)})
    assert library.read("banking", "blank", query("card"), NOBODY, 1) is None


def test_an_unknown_collection_is_refused_without_a_word_of_others(library: Library) -> None:
    for ask in (
        lambda: library.search("legal", "x", query("x"), NOBODY, 1, 1),
        lambda: library.standing("legal", "card", "", NOBODY),
        lambda: library.read("legal", "card", query("x"), NOBODY, 1),
    ):
        with pytest.raises(UnknownCollection, match=r"^no such collection here$"):
            ask()


def test_replacing_serves_the_new_generation_from_the_next_search_on() -> None:
    library = Library({"banking": Generation.build([CARD], embed, version=1)})
    before = library.generation("banking")
    changed = replace(CARD, answer="Another.", text="Another.\n\nA card comes by post.\n")
    library.replace("banking", Generation.build([changed, FEE], embed, version=2))
    evidence = library.search("banking", "card", query("card"), NOBODY, 1, 1)
    assert (evidence.knowledge_version, evidence.hits[0].document) == (2, changed)
    assert library.standing("banking", "card", CARD.content_hash, NOBODY) is Standing.CHANGED
    assert list(before.documents) == [CARD]


def test_an_encoder_that_gives_no_unit_vectors_is_refused() -> None:
    with pytest.raises(SearchFailed, match="unit length"):
        Generation.build([CARD], lambda texts: 2 * embed(texts))


@given(st.lists(st.sampled_from(WORDS), min_size=1, max_size=9))
def test_company_in_a_pass_changes_no_ranking(words: list[str]) -> None:
    scan = Library({"x": Generation.build(DOCUMENTS, embed)})
    embeddings = embed([f"{word} fee" for word in words])
    forward = Pass(np.zeros((len(words), 1), np.float32), embeddings)
    for row, embedding in enumerate(embeddings):
        alone = Prediction.alone(np.zeros(1, np.float32), embedding)
        found = dict(scan.rank("x", Prediction(forward, row, 1, {}), STAFF, 9).documents)
        assert found == pytest.approx(dict(scan.rank("x", alone, STAFF, 9).documents), abs=1e-6)


def test_generations_of_one_pass_are_not_taken_for_each_other() -> None:
    one, other = (Library({"x": Generation.build([each], embed)}) for each in (CARD, FEE))
    asked = query("fee")
    assert [name for name, _ in one.rank("x", asked, NOBODY, 1).documents] == ["card"]
    assert [name for name, _ in other.rank("x", asked, NOBODY, 1).documents] == ["fee"]
