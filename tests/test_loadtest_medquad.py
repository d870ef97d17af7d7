"""MedQuAD through the knowledge base: which documents are right, and that a store is used again. On made data."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from loadtest import medquad_data
from loadtest.__main__ import main
from loadtest.medquad import rank, scored
from loadtest.medquad_data import read
from tests import tiny


def record(record_id: str, focus: str, kind: str, question: str, answer: str = "By post. It takes a week.") -> Any:
    return {"id": record_id, "uri": "https://x", "focus": focus, "qtype": kind, "question": question, "answer": answer}


RECORDS = [
    record("a", "Flu", "symptoms", "What are the symptoms of Flu ?"),
    record("b", "flu", "symptoms", "How is flu noticed?", "A fever."),
    record("c", "Influenza", "signs", "what are the SYMPTOMS of (flu)", "Cough."),
    record("d", "Gout", "causes", "What causes Gout?", "Uric acid."),
    record("d", "Gout", "treatment", "How is Gout treated?", "Rest."),
    record("e", "", "causes", "What causes Mumps?", "A virus."),
    record("f", "", "causes", "What causes Measles?", "Another virus."),
    *(record(f"g{at}", f"Thing {at}", "about", f"What is thing {at}?", f"It is {at}.") for at in range(9)),
]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "medquad"
    folder.mkdir()
    with gzip.open(folder / medquad_data.FILE, "wt") as file:
        file.writelines(json.dumps(one) + "\n" for one in RECORDS)
    questions = tmp_path / "questions.jsonl"
    asked = {"a": "I feel feverish", "d": "my toe hurts", "e": "swollen cheeks", "g8": "thing"}
    questions.write_text("".join(json.dumps({"id": one, "question": text}) + "\n" for one, text in asked.items()))
    monkeypatch.setitem(medquad_data.QUESTIONS, medquad_data.FROZEN, questions)
    return folder


def test_right_is_its_own_and_what_asks_the_same(data: Path) -> None:
    found = read(data)
    flu, gout, mumps, thing = (one.right for one in found.asked)
    assert flu == {"a", "b", "c"}  # by focus and type, and by its words
    assert len(gout) == 2  # one of them under another id, as its own is taken
    assert "d" in gout
    assert mumps == {"e"}  # no focus is none in common
    assert thing == {"g8"}
    assert (len(found.documents), found.left_out, found.several) == (len(RECORDS), 0, 1)


def test_some_of_it_has_all_that_is_asked_for(data: Path) -> None:
    names = {one.id for one in read(data, 2).documents}
    assert names >= {"a", "b", "d", "e", "g8"}
    assert len(names) == 6


def test_questions_to_choose_by_are_others_than_the_frozen_ones() -> None:
    frozen, dev = (
        [json.loads(line)["id"] for line in medquad_data.QUESTIONS[which].read_text().splitlines()]
        for which in (medquad_data.FROZEN, medquad_data.DEV)
    )
    assert (len(set(frozen)), len(set(dev))) == (300, 150)
    assert not set(frozen) & set(dev)


def test_the_other_questions_are_read_where_they_are_named(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = data.parent / "dev.jsonl"
    other.write_text(json.dumps({"id": "f", "question": "red spots"}) + "\n")
    monkeypatch.setitem(medquad_data.QUESTIONS, medquad_data.DEV, other)
    assert [one.text for one in read(data, which=medquad_data.DEV).asked] == ["red spots"]


def test_ranks_and_what_follows_from_them() -> None:
    assert [rank(["x", "y"], frozenset(one)) for one in ("x", "y", "z")] == [1, 2, 0]
    assert scored([1, 2, 0, 1]) == {"first": 0.5, "among_10": 0.75, "mrr": 0.625}


def test_it_is_taken_in_once_and_asked_again(data: Path, tmp_path: Path) -> None:
    bundle, store = tiny.write(tmp_path / "bundle"), tmp_path / "store"
    told = []
    for number in range(2):
        out = tmp_path / f"{number}.json"
        where = ["--data", str(data), "--bundle", str(bundle), "--folder", str(store), "--out", str(out)]
        result = CliRunner().invoke(main, ["medquad", *where])
        assert result.exit_code == 0, result.output
        told.append(json.loads(out.read_text()))
    first, again = told
    assert (first["kind"], first["documents"], first["questions"]) == ("medquad", len(RECORDS), 4)
    assert (first["written"], again["written"]) == (len(RECORDS), 0)
    assert min(first["ingest_tokens_per_second"], first["session_tokens_per_second"], first["bytes"]) > 0
    assert first["passages"] == first["ingest_passages"] == again["passages"]
    assert set(first["rankers"]) == {"hybrid", "dense", "lexical"}
    assert first["asked"] == "frozen"
    assert {(one["overlap"], one["first"]) for one in first["fidelity"].values()} == {(1, 1)}  # so few are scanned
    assert set(first["hybrid_lead_points"]) == {"first", "among_10", "mrr"}


def test_without_data_it_says_where_to_name_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GATEWAY_DATA", raising=False)
    result = CliRunner().invoke(main, ["medquad"])
    assert result.exit_code == 2
    assert "--data" in result.output
    monkeypatch.setenv("GATEWAY_DATA", str(tmp_path))
    result = CliRunner().invoke(main, ["medquad"])
    assert result.exit_code == 1
    assert "medquad.jsonl.gz" in result.output


def test_a_folder_without_the_data_is_named_with_what_to_do(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["medquad", "--data", str(tmp_path)])
    assert result.exit_code == 1
    assert f"{tmp_path}: holds no medquad.jsonl.gz" in result.output
    assert "--data" in result.output
