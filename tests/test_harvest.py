"""Harvest: which questions of an audit log become candidates, what is proposed, left out and taken out."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gateway.audit.cases import Cases, Verdict
from gateway.audit.log import AuditLog, Terms
from gateway.audit.marks import Marker, key_of
from gateway.cli.main import cli
from gateway.forge import texts
from gateway.forge.harvest import Candidate, Right, Source, harvest, line, reviewed, without_names
from gateway.forge.near import Texts, plain
from gateway.forge.texts import Labelled
from gateway.types import Principal, Question, Route
from tests import tiny
from tests.fakes import ABSTENTION, ANSWER


def record(number: int, text: str | None, route: str = "retrieval", **more: Any) -> dict[str, Any]:
    found = {
        "id": f"id-{number}",
        "time": "2026-01-01T00:00:00.000000Z",
        "tenant": "acme",
        "collection": "banking",
        "bundle": "banking/1",
        "route": route,
        "reason": "low_confidence",
        "confidence": 0.9,
        "label": "",
        "document": "" if route == "abstain" else "card-swallowed",
        "citations": [["card-swallowed", 0]],
        "drawn": True,
    }
    return found | ({} if text is None else {"text": text}) | more


def verdict(number: int, is_wrong: bool, **more: Any) -> dict[str, Verdict]:
    return {f"id-{number}": Verdict(f"id-{number}", "acme", is_wrong, **more)}


def only(records: list[dict[str, Any]], verdicts: dict[str, Verdict] | None = None) -> Candidate:
    (found,) = harvest(records, verdicts or {}, {"card-swallowed": "card_swallowed"}).candidates
    return found


def test_a_drawn_fallback_is_proposed_as_retrieval_answered_it() -> None:
    found = only([record(1, "The machine kept my card")])
    assert (found.text, found.source) == ("The machine kept my card", Source.RETRIEVAL)
    assert found.proposed == Right("card-swallowed", "card_swallowed")
    assert (found.evidence["id"], found.evidence["tenant"], found.review) == ("id-1", "acme", None)


def test_an_abstention_is_proposed_with_what_came_nearest() -> None:
    found = only([record(1, "My card is gone", route="abstain")])
    assert (found.source, found.proposed.document) == (Source.NEAREST, "card-swallowed")
    assert only([record(1, "My card is gone", route="abstain", citations=[])]).proposed == Right()


@pytest.mark.parametrize(
    ("route", "said", "right"),
    [
        ("model", {"is_wrong": False}, Right("card-swallowed", "card_swallowed")),
        ("model", {"is_wrong": True, "document": "card-arrival"}, Right("card-arrival")),
        ("retrieval", {"is_wrong": True, "label": "top_up"}, Right(label="top_up")),
        ("retrieval", {"is_wrong": True, "no_answer": True}, Right(no_answer=True)),
        ("retrieval", {"is_wrong": True}, Right()),
        ("abstain", {"is_wrong": False}, Right(no_answer=True)),
    ],
)
def test_a_verdict_beats_what_was_answered(route: str, said: dict[str, Any], right: Right) -> None:
    found = only([record(1, "The machine kept my card", route, drawn=False)], verdict(1, **said))
    assert (found.source, found.proposed) == (Source.VERDICT, right)


def test_what_says_nothing_or_has_no_text_is_left_out_and_counted() -> None:
    records = [
        record(1, "by the model", route="model"),
        record(2, "not drawn", drawn=False),
        record(3, None),
    ]
    found = harvest(records, {}, {})
    assert (found.candidates, found.of_no_use, found.without_text) == ([], 2, 1)
    more = harvest(records, {}, {}, has_unjudged=True)
    assert [(one.text, one.source) for one in more.candidates] == [("not drawn", Source.UNJUDGED)]


def test_an_abstention_that_was_not_drawn_is_harvested_with_what_came_nearest_where_that_is_asked_for() -> None:
    records = [record(1, "how do I close it", route="abstain", document="", drawn=False)]
    assert harvest(records, {}, {}).candidates == []
    (found,) = harvest(records, {}, {}, has_unjudged=True).candidates
    assert (found.source, found.proposed.document) == (Source.UNJUDGED, records[0]["citations"][0][0])


def test_of_nearly_the_same_questions_the_best_founded_is_kept() -> None:
    records = [
        record(1, "The cash machine kept my card!"),
        record(2, "the cash machine kept my  card", document="card-arrival", confidence=0.99),
        record(3, "The cash machine kept my cards", route="model"),
        record(4, "A wholly different question about top-ups"),
    ]
    found = harvest(records, verdict(3, is_wrong=True, document="card-frozen"), {}).candidates
    assert [one.text for one in found] == [records[2]["text"], records[3]["text"]]
    assert (found[0].source, found[0].proposed.document, found[0].times) == (Source.VERDICT, "card-frozen", 3)
    assert {one.document for one in found[0].others} == {"card-swallowed", "card-arrival"}


def test_what_is_known_already_is_left_out() -> None:
    records = [record(1, "The cash machine kept my card!"), record(2, "Where is my refund?")]
    found = harvest(records, {}, {}, known=["the cash machine kept my card"])
    assert ([one.text for one in found.candidates], found.known) == (["Where is my refund?"], 1)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("Write to jo.doe+x@mail.example please", "Write to <email> please"),
        ("see https://x.example/a?b=1 now", "see <link> now"),
        ("card 4111 1111 1111 1111 declined", "card <number> declined"),
        ("call +49 (30) 123-4567", "call <number>"),
        ("to GB29 NWBK 6016 1331 9268 19 today", "to <account> today"),
        ("I paid 25 or 1500 on 3 May", "I paid 25 or 1500 on 3 May"),
    ],
)
def test_what_is_likely_to_name_somebody_is_taken_out(text: str, kept: str) -> None:
    assert without_names(text) == kept
    assert only([record(1, text)]).text == kept


def test_near_duplicates_are_a_letter_or_a_word_apart_and_paraphrases_are_none() -> None:
    known = Texts()
    assert known.add("Why has my card payment been declined in the shop?") is None
    assert known.add("why has my card payment been declined in the shop") == 0
    assert known.add("Why has my card payments been declined in the shop?") == 0
    assert known.add("The shop did not take my card") is None
    assert known.add("a") is None
    assert known.add("A!") == 2
    assert len(known) == 3
    assert plain("  Top-Up of 20.50,  please ") == "top up of 0 0 please"


def test_every_near_duplicate_is_found_among_many() -> None:
    """A fortieth of real length's words changed: as exact comparison of all pairs has it."""
    known, originals = Texts(), [f"question {n} about {text}" for n, text in enumerate(tiny.questions(400, longest=30))]
    for text in originals:
        known.add(text)
    size = len(known)
    for text in originals:
        assert known.add(text + "?") is not None
    assert len(known) == size


def candidate(text: str, review: Any, **proposed: Any) -> str:
    return line(Candidate(text, Right(**proposed), Source.RETRIEVAL, {}, review=review)) + "\n"


def test_what_was_accepted_is_read(tmp_path: Path) -> None:
    file = tmp_path / "reviewed.jsonl"
    file.write_text(
        candidate("one", "accept", document="card-swallowed")
        + candidate("two", "accept", document="card-arrival", label="card_arrival")
        + candidate("three", "reject", document="x")
        + candidate("four", None, document="x")
        + candidate("five", {"document": "card-frozen"}, document="x")
        + candidate("six", {"no_answer": True}, document="x")
        + candidate("seven", "accept", no_answer=True)
        + candidate("eight", {"label": "top_up"}, document="x")
    )
    rows, outliers = reviewed(file)
    assert rows == [
        Labelled("one", "card_swallowed", "card-swallowed"),
        Labelled("two", "card_arrival", "card-arrival"),
        Labelled("five", "card_frozen", "card-frozen"),
        Labelled("eight", "top_up", ""),
    ]
    assert outliers == ["six", "seven"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (candidate("a", "perhaps", document="x"), "has the review 'perhaps'"),
        (candidate("a", "accept"), "nothing is proposed"),
        (candidate("a", {"dokument": "x"}), "dokument"),
        ("{", "Expecting property name"),
        ('{"text": "a"}\n', "'review'"),
    ],
)
def test_a_wrong_review_is_named_with_its_line(tmp_path: Path, content: str, words: str) -> None:
    file = tmp_path / "reviewed.jsonl"
    file.write_text(candidate("fine", None) + content)
    with pytest.raises(ValueError, match=r"reviewed.jsonl:2: ") as caught:
        reviewed(file)
    assert words in str(caught.value)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny bundle, and the log of one drawn fallback of a tenant whose texts are kept, and one of another's."""
    monkeypatch.setenv("GATEWAY_MODEL__BUNDLE", str(tiny.write(tmp_path / "tiny")))
    folder = tmp_path / "audit"
    folder.mkdir()
    log = AuditLog(folder, 0, Marker(key_of(folder, None), 1.0), Terms(text_tenants=frozenset({"acme"})))
    fallback = replace(ANSWER, route=Route.RETRIEVAL)
    for tenant in ("acme", "private"):
        log.offer(Question(f"a question of {tenant}", "banking", Principal(tenant)), fallback, "", 0.0)
    mark = log.offer(Question("a bad one of acme", "banking", Principal("acme")), ABSTENTION, "", 0.0)
    log.close()
    assert mark is not None
    with closing(Cases(folder)) as cases:
        cases.judge(Verdict(mark.id, "acme", is_wrong=False, comment="mail me: jo@mail.example"), 0.0)
    return tmp_path


def run(world: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["harvest", "--folder", str(world / "audit"), *arguments])


def test_a_log_becomes_training_data_by_way_of_a_review(world: Path) -> None:
    out, table, outliers = world / "candidates.jsonl", world / "extra.csv", world / "extra.jsonl"
    result = run(world, "--out", str(out))
    assert result.exit_code == 0, result.output
    assert "2 candidates of 2 questions" in result.output
    assert "private" not in out.read_text()
    assert "jo@mail.example" not in out.read_text()
    found = [json.loads(one) for one in out.read_text().splitlines()]
    assert [(one["source"], one["review"]) for one in found] == [("verdict", None), ("retrieval", None)]
    early = run(world, "--reviewed", str(out), "--csv", str(table), "--outliers", str(outliers))
    assert (early.exit_code, "nothing in it is accepted yet" in early.output, table.exists()) == (1, True, False)
    out.write_text("".join(f"{json.dumps(one | {'review': 'accept'})}\n" for one in found))
    done = run(world, "--reviewed", str(out), "--csv", str(table), "--outliers", str(outliers))
    assert done.output == "1 questions of 1 categories, 1 outliers\n"
    assert texts.read(table) == [Labelled("a question of acme", "card_arrival", "card-arrival")]
    assert texts.read(outliers) == [Labelled("a bad one of acme", "")]
    # The log is for its owner alone, and so is what comes of it.
    assert {path.stat().st_mode & 0o777 for path in (out, table, outliers)} == {0o600}


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ((), 2, "name a file for the candidates"),
        (("--out", "o", "--tenant", "private"), 1, "1 whose texts were not kept"),
        (("--out", "o", "--not-in", "nowhere.csv"), 2, "--not-in: no such file"),
        (("--out", "nowhere/o"), 1, "nowhere/o: cannot be written (No such file or directory)"),
        (("--reviewed", "R"), 2, "need --csv"),
    ],
)
def test_what_is_wrong_is_said(
    world: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], code: int, words: str
) -> None:
    monkeypatch.chdir(world)
    Path("R").write_text(candidate("a", "accept", document="x"))
    result = run(world, *arguments)
    assert (result.exit_code, words in result.output) == (code, True), result.output
