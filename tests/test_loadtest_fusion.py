"""Ways to fuse and to rerank: each by an example whose order can be told by hand, and their table on made data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from gateway.knowledge.generation import Generation
from gateway.types import Document, Matrix, Vector
from loadtest import medquad_data, rerankers
from loadtest.__main__ import main
from loadtest.fusion import FUSIONS, Legs, best, by_distribution, by_range, legs, reciprocal
from loadtest.fusion_measures import compared
from loadtest.medquad_fidelity import exhaustive, scanned
from tests import tiny
from tests.test_generation import embed, query
from tests.test_loadtest_medquad import data as data

__all__ = ["data"]


def document(name: str, text: str = "") -> Document:
    return Document(name, name, "", "", "", text or name)


def made(near: Sequence[float], said: Sequence[float], texts: Sequence[str] = ()) -> Legs:
    documents = [document(f"d{at}", texts[at] if texts else "") for at in range(len(near))]
    return Legs(documents, np.array(near, np.float32), np.array(said, np.float32), np.array(said, np.float32))


def order(legs: Legs, scores: Vector) -> list[int]:
    return best(legs, scores, len(scores))


def test_ranks_forget_by_how_much_one_is_ahead() -> None:
    far_ahead = made([0.9, 0.30, 0.29], [0.1, 0.3, 0.2])
    assert order(far_ahead, far_ahead.served) == [0, 1, 2]
    assert order(far_ahead, reciprocal(1)(far_ahead))[0] == 1  # second and first
    assert by_range(far_ahead)[1] < 1.1  # nearly the last by meaning


def test_standard_scores_weigh_both_legs_alike() -> None:
    legs = made([0.50, 0.51, 0.52], [0.9, 0.1, 0.1])
    assert np.argmax(legs.served) == 0
    wide = made([0.0, 0.1, 0.9], [0.012, 0.011, 0.010])
    assert np.argmax(wide.served) == 2
    assert abs(float(by_distribution(wide)[0] - by_distribution(wide)[2])) < 0.5  # each is a leg's first


def test_what_says_the_same_counts_once() -> None:
    legs = made([0.9, 0.8, 0.7], [0.0, 0.0, 0.0])
    twice = Legs([legs.documents[0], legs.documents[0], legs.documents[2]], legs.near, legs.said, legs.plainly)
    assert best(twice, twice.served, 2) == [0, 2]


def test_served_is_what_a_search_scores() -> None:
    some = [document(f"d{at}", " and ".join(pair)) for at, pair in enumerate(["ab", "bc", "cd", "de", "ef"])]
    some += [document("pin", "pin"), document("fee", "a fee for a card")]
    whole = scanned(Generation.build(some, embed))
    found = legs(whole, "card pin", query("card pin"))
    ids = [found.documents[at].id for at in order(found, found.served)]
    assert ids[:2] == exhaustive(whole, "card pin", query("card pin"), 2)
    assert set(FUSIONS) > {"by meaning alone", "by words alone"}


def test_words_that_stand_together_count_where_they_do() -> None:
    documents = [document("apart", "bone " + "so " * 20 + "marrow"), document("together", "marrow of a bone")]
    added = rerankers.proximity(0.1)("my bones' marrow", query(""), documents)
    assert added.tolist() == pytest.approx([0.0, 0.1])


def test_the_nearest_sentence_counts() -> None:
    def by_length(texts: Sequence[str]) -> Matrix:
        return np.array([[len(text)] for text in texts], np.float32)

    question = query("x")
    object.__setattr__(question.forward, "embeddings", np.ones((1, 1), np.float32))
    documents = [document("one", "It is four words. It has some more of them."), document("two", "Too short. By far.")]
    added = rerankers.sentences(1.0, by_length)("x", question, documents)
    assert added.tolist() == [len("It has some more of them."), len("two")]


def test_an_interval_is_of_pairs() -> None:
    served = np.array([1, 2, 0, 4] * 50)
    same = compared(served, served)
    assert (same["first"], same["among_3"], same["mrr"]) == (0.25, 0.5, 0.4375)
    assert (same["first_more"], same["first_low"], same["first_high"]) == (0, 0, 0)
    better = compared(np.where(served == 2, 1, served), served)
    assert better["first_more"] == 0.25
    assert 0.15 < better["first_low"] < 0.25 < better["first_high"] < 0.35
    assert better["among_3_more"] == 0


def test_the_table_has_every_way(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(medquad_data.QUESTIONS, medquad_data.DEV, medquad_data.QUESTIONS[medquad_data.FROZEN])
    out = tmp_path / "fusion.json"
    where = ["--data", str(data), "--bundle", str(tiny.write(tmp_path / "bundle")), "--out", str(out)]
    result = CliRunner().invoke(main, ["fusion", *where])
    assert result.exit_code == 0, result.output
    found = json.loads(out.read_text())
    assert (found["kind"], found["questions"]) == ("fusion", 4)
    assert next(iter(found["ways"])) == "served"
    assert set(FUSIONS) < set(found["ways"])
    assert found["ways"]["nearest sentence, + 0.1"]["ms"] > 0
    assert found["ways"]["served"]["ms"] is None
    assert "4 questions to choose by" in result.output
