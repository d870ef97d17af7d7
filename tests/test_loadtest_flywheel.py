"""The flywheel's parts: who asks what, what a reviewer says, what is counted, and when the measure is missed."""

from __future__ import annotations

import copy
import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from gateway.forge import plots
from gateway.forge.texts import Labelled
from gateway.types import Answer, Policy, Reason, Route
from loadtest import flywheel as turning
from loadtest import flywheel_command, flywheel_world
from loadtest.flywheel_world import IN_SCOPE, LAUNCHED, OUTLIERS, Asked, World
from tests.test_data import ROWS, excluding, recipe

LOAN = Asked("How do I get a loan?", "personal_loan", LAUNCHED)
CARD = Asked("Where is my card?", "card", IN_SCOPE)
FAR = Asked("Who won the cup?", "", OUTLIERS)


def answered(route: Route, document: str = "") -> Answer:
    return Answer(route, Reason.CONFIDENT, Policy.CASCADE, 0.9, document_id=document)


@pytest.fixture
def world(tmp_path: Path) -> World:
    recipe(tmp_path, data=excluding(tmp_path, "loan"))
    return flywheel_world.load(tmp_path / "recipe.toml", ["far away"], frozen=0.25, seed=7)


def test_frozen_questions_never_arrive(world: World) -> None:
    frozen, arriving = ({one.text for one in some} for some in (world.frozen, world.traffic))
    assert not frozen & arriving
    counts = [sum(one.group == LAUNCHED for one in some) for some in (world.frozen, world.traffic)]
    assert counts == [10, 30]
    assert world.intents == {"loan"}
    assert {one.category for one in world.frozen} == {"card", "fees", "loan"}
    assert [one.text for one in world.traffic if one.group == OUTLIERS] == ["far away"]


def test_frozen_questions_have_trained_nothing(world: World) -> None:
    from gateway.forge import data

    divided = data.load(world.recipe)
    of_before = {one.text for one in world.frozen if one.group == IN_SCOPE}
    assert of_before == {row.text for row in (*divided.dev, *divided.certify)}
    assert {row.text for row in world.known} == {text for text, label in ROWS if label != "loan"}


def test_a_division_takes_the_share_of_each_intent() -> None:
    rows = [Labelled(f"{label} {number}", label) for label, count in (("a", 10), ("b", 30)) for number in range(count)]
    first, rest = flywheel_world.divide(rows, 0.3, seed=1)
    assert [sum(row.category == label for row in first) for label in "ab"] == [3, 9]
    assert sorted(row.text for row in (*first, *rest)) == sorted(row.text for row in rows)


def candidate(asked_id: str, document: str = "", no_answer: bool = False, source: str = "unjudged") -> str:
    proposed = {"document": document, "label": "", "no_answer": no_answer}
    return json.dumps(
        {"text": "?", "proposed": proposed, "source": source, "evidence": {"id": asked_id}, "review": None}
    )


@pytest.mark.parametrize(
    ("reviewer", "words"),
    [
        ("correct", ["accept", {"label": "card", "document": "card"}, {"no_answer": True}, "accept"]),
        ("reject", ["accept", "reject", "reject", "accept"]),
        ("accept", ["accept"] * 4),
    ],
)
def test_a_reviewer_says_what_it_is_told_to_of_wrong_proposals(tmp_path: Path, reviewer: str, words: list[Any]) -> None:
    file = tmp_path / "candidates.jsonl"
    lines = [
        candidate("1", "personal-loan", source="verdict"),
        candidate("2", "personal-loan"),
        candidate("3", "card"),
        candidate("3", no_answer=True),
    ]
    file.write_text("\n".join(lines) + "\n")
    found = turning.review(file, {"1": LOAN, "2": CARD, "3": FAR}, reviewer)
    assert [json.loads(line)["review"] for line in file.read_text().splitlines()] == words
    assert found.numbers() == {"proposals": 4, "right": 2, "by_source": {"unjudged": [1, 3], "verdict": [1, 1]}}


def test_shares_are_of_the_group_and_wrong_is_what_was_answered_wrongly() -> None:
    questions = [LOAN, LOAN, LOAN, LOAN, CARD]
    answers = [
        answered(Route.MODEL, "card"),
        answered(Route.RETRIEVAL, "personal-loan"),
        answered(Route.RETRIEVAL, "fees"),
        answered(Route.ABSTAIN),
        answered(Route.MODEL, "card"),
    ]
    found = turning.figures(questions, answers)
    assert found[LAUNCHED]["routes"] == {"abstain": 0.25, "model": 0.25, "retrieval": 0.5}
    assert (found[LAUNCHED]["right"], found[LAUNCHED]["wrong"]) == (0.25, 0.5)
    assert found[LAUNCHED]["right_by_route"]["retrieval"] == 0.5
    assert (found["all"]["model_answers"], found["all"]["model_wrong"]) == (2, 1)
    assert found["all"]["model_wrong_at_most"] > 0.5
    assert found[IN_SCOPE]["right"] == 1.0


def test_nothing_answers_what_is_out_of_scope() -> None:
    assert FAR.is_right(answered(Route.ABSTAIN))
    assert not FAR.is_right(answered(Route.RETRIEVAL, "card"))


def made() -> dict[str, Any]:
    """A result that meets every measure."""

    def side(bundle: str, share: float) -> dict[str, Any]:
        one = {
            "questions": 10,
            "routes": {"model": share, "retrieval": round(0.9 - share, 4), "abstain": 0.1},
            "right_by_route": {"model": 0.97, "retrieval": 0.8, "abstain": 0.0},
            "right": 0.8,
            "wrong": 0.1,
            "model_answers": 100,
            "model_wrong": 3,
        }
        certificate = {"status": "valid", "alpha": 0.05, "threshold": 0.9, "upper_bound": 0.048}
        certificate |= {"questions": 700, "accepted": 600, "wrong": 18}
        return {
            "bundle": bundle,
            "labels": 3,
            "groups": {LAUNCHED: one, IN_SCOPE: one, "all": one},
            "certificate": certificate,
        }

    estimate = {"value": 0.05, "low": 0.03, "high": 0.07}
    intents = [{"name": "loan", "before": 9, "after": 8}]
    return {
        "processor": "any",
        "system": "any",
        "commit": "abc",
        "when": "today",
        "reviewer": "correct",
        "traffic": 100,
        "intents": 27,
        "judged": 10,
        "drift_alarms": [32],
        "as_it_arrived": {LAUNCHED: {"questions": 80, "routes": {"retrieval": 0.9}}},
        "review": {"proposals": 50, "right": 40, "by_source": {"unjudged": [35, 45], "verdict": [5, 5]}},
        "harvested": "50 questions",
        "before": side("banking/1", 0.1),
        "after": side("banking/2", 0.8),
        "promotion": {
            "recorded": True,
            "gates": [{"name": "questions", "outcome": "passed", "detail": "better"}],
            "compared": {"right": estimate, "wrong": estimate, "forgotten": [], "intents": intents},
        },
        "back": {"bundle": "banking/1", "is_as_before": True},
        "seconds": {"harvest": 1.0},
    }


def changed(*path: str, to: Any) -> dict[str, Any]:
    found = copy.deepcopy(made())
    at = found
    for name in path[:-1]:
        at = at[name]
    at[path[-1]] = to
    return found


def test_a_turn_that_meets_its_measures_has_no_faults() -> None:
    assert flywheel_command.faults(made()) == []


@pytest.mark.parametrize(
    ("found", "fault"),
    [
        (changed("after", "groups", LAUNCHED, "routes", "model", to=0.59), "59.0% of the questions"),
        (changed("after", "groups", "all", "model_wrong", to=6), "6.0% of the model's answers are wrong"),
        (changed("after", "certificate", "status", to="insufficient"), "banking/2 is insufficient"),
        (changed("promotion", "compared", "forgotten", to=["loan"]), "forgotten: loan"),
        (changed("back", "is_as_before", to=False), "answered otherwise"),
        (changed("promotion", "recorded", to=False) | {"back": None}, "not promoted"),
    ],
)
def test_each_measure_can_be_missed(found: dict[str, Any], fault: str) -> None:
    said = flywheel_command.faults(found)
    assert len(said) == 1
    assert fault in said[0]


def test_what_is_shown_has_both_bundles_and_the_way_back() -> None:
    said = io.StringIO()
    flywheel_command.show(made(), Console(file=said, width=120))
    text = said.getvalue()
    assert "launched later (10)" in text
    assert "35 of 45 (77.8%) are right" in text
    assert "right +5.0 (+3.0 to +7.0)" in text
    assert "rolled back to banking/1" in text


def test_a_turn_is_drawn() -> None:
    found = made()
    png = plots.turn({when: found[when]["groups"] for when in ("before", "after")})
    assert png.startswith(b"\x89PNG")
