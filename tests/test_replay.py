"""Replay of an audit log: what is compared, with which intervals, and what is said where nothing can be."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from gateway import doubts
from gateway.audit import reading
from gateway.audit.cases import Cases, Verdict
from gateway.audit.log import AuditLog, Terms
from gateway.audit.marks import Marker, key_of
from gateway.audit.reading import Wanted
from gateway.cli.main import cli
from gateway.forge import references
from gateway.forge.knowledge import Knowledge
from gateway.forge.replay import Asked, Pair, Prices, asked, compared
from gateway.telemetry.drift.window import BATCH
from gateway.types import Answer, Policy, Principal, Question, Reason, Route
from tests import tiny
from tests.fakes import ABSTENTION, ANSWER
from tests.test_assembly import ARTICLE
from tests.test_drift_reference import data

TOLERANCE = 1e-12


def answer(route: Route, document: str = "", confidence: float = 0.9, seconds: float = 0.0) -> Answer:
    return Answer(
        route,
        Reason.CONFIDENT,
        Policy.CASCADE,
        confidence,
        document_id=document,
        timings={"infer": seconds, "queue": 9.0},
    )


def pair(number: int, now: Answer, other: Answer, group: str = "", propensity: float = 0.5, given: str = "a") -> Pair:
    question = Question(f"question {number}", "banking")
    one = Asked(f"id-{number}", group or str(number), question, Route.MODEL, given, drawn=True, propensity=propensity)
    return Pair(one, now, other)


MODEL, RETRIEVAL, NOTHING = answer(Route.MODEL, "a"), answer(Route.RETRIEVAL, "b"), answer(Route.ABSTAIN, "", 0.4)


def test_shares_moves_and_costs_are_counted() -> None:
    pairs = [pair(n, MODEL, MODEL) for n in range(6)] + [pair(n, MODEL, RETRIEVAL) for n in range(6, 9)]
    pairs.append(pair(9, RETRIEVAL, NOTHING))
    found = compared(pairs, {}, Prices(wrong=1.0, handoff=0.5))
    assert found["questions"] == found["different_questions"] == 10
    model = found["routes"]["model"]
    assert (model["now"]["value"], model["other"]["value"]) == (0.9, 0.6)
    assert model["difference"]["value"] == pytest.approx(-0.3)
    assert found["moves"] == [
        {"from": "model", "to": "retrieval", "questions": 3},
        {"from": "retrieval", "to": "abstain", "questions": 1},
    ]
    assert found["other_route"]["value"] == found["other_answer"]["value"] == pytest.approx(0.4)
    assert found["cost"]["now"]["value"] == pytest.approx(0.1)
    assert found["cost"]["other"]["value"] == pytest.approx((9 * 0.1 + 0.5) / 10)
    assert found["changed_since"] == {"route": 0.1, "answer": 0.1}
    assert found["judged"] == {"questions": 0}
    with pytest.raises(ValueError, match="no question"):
        compared([], {}, Prices())


def test_waiting_is_no_work() -> None:
    slow, quick = answer(Route.MODEL, "a", 1.0, seconds=0.004), answer(Route.MODEL, "a", 1.0, seconds=0.001)
    found = compared([pair(0, slow, quick)], {}, Prices(second=10.0))
    assert found["milliseconds"]["difference"]["value"] == pytest.approx(-3.0)
    assert found["cost"]["difference"]["value"] == pytest.approx(-0.03)


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    generator = np.random.default_rng(11)
    hits, runs = 0, 150
    for run in range(runs):
        moved = generator.random(80) < 0.3
        pairs = [pair(n, MODEL, RETRIEVAL if one else MODEL) for n, one in enumerate(moved)]
        share = compared(pairs, {}, Prices(), seed=run)["other_route"]
        hits += share["low"] - TOLERANCE <= 0.3 <= share["high"] + TOLERANCE
    assert hits >= 0.88 * runs


def test_the_same_question_again_makes_nothing_surer() -> None:
    some = [pair(n, MODEL, RETRIEVAL if n % 3 else MODEL, group=str(n)) for n in range(30)]
    often = [pair(n, MODEL, RETRIEVAL if n % 3 else MODEL, group=str(n)) for n in range(30) for _ in range(20)]
    once, again = (compared(pairs, {}, Prices())["other_route"] for pairs in (some, often))
    assert compared(often, {}, Prices())["different_questions"] == 30
    assert again["value"] == pytest.approx(once["value"])
    assert again["high"] - again["low"] == pytest.approx(once["high"] - once["low"], rel=0.05)


def verdict(number: int, is_wrong: bool, **more: Any) -> tuple[str, Verdict]:
    return f"id-{number}", Verdict(f"id-{number}", "default", is_wrong, **more)


def test_verdicts_on_what_was_given_judge_both_ways() -> None:
    pairs = [
        pair(0, MODEL, RETRIEVAL),  # right was a
        pair(1, MODEL, RETRIEVAL),  # wrong: b is right
        pair(2, MODEL, NOTHING),  # wrong: nothing is right
        pair(3, MODEL, RETRIEVAL),  # wrong, and nobody says what is right: b may be
        pair(4, MODEL, MODEL),  # wrong, both ways
        pair(5, MODEL, RETRIEVAL),  # not judged
    ]
    verdicts = dict(
        [
            verdict(0, is_wrong=False),
            verdict(1, is_wrong=True, document="b"),
            verdict(2, is_wrong=True, no_answer=True),
            verdict(3, is_wrong=True),
            verdict(4, is_wrong=True),
        ]
    )
    found = compared(pairs, verdicts, Prices())["judged"]
    assert found["questions"] == 4
    assert found["right"]["now"]["value"] == pytest.approx(1 / 4)
    assert found["right"]["other"]["value"] == pytest.approx(2 / 4)


def test_what_was_drawn_seldom_stands_for_more() -> None:
    pairs = [pair(0, MODEL, RETRIEVAL, propensity=0.01), pair(1, MODEL, RETRIEVAL, propensity=0.99)]
    verdicts = dict([verdict(0, is_wrong=False), verdict(1, is_wrong=True, document="b")])
    found = compared(pairs, verdicts, Prices())["judged"]["right"]
    assert found["now"]["value"] == pytest.approx(100 / (100 + 1 / 0.99))


def test_only_questions_with_text_can_be_asked_again(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, 0, Marker(key_of(tmp_path, None), 0.0), Terms(text_tenants=frozenset({"acme"})))
    log.offer(Question("mine", "banking", Principal("acme", frozenset({"staff"})), Policy.PARALLEL), ANSWER, "", 0.0)
    log.offer(Question("yours", "banking", Principal("other")), ABSTENTION, "", 0.0)
    log.close()
    found, without = asked(reading.records(tmp_path, Wanted(kind="answer"), has_text=True))
    assert without == 1
    (one,) = found
    # The policy is the one that answered.
    assert one.question == Question("mine", "banking", Principal("acme", frozenset({"staff"})), ANSWER.policy)
    assert (one.route, one.given, one.drawn) == (Route.MODEL, "card-arrival", False)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny bundle with two articles, its settings, and a log of nine questions about them and one about others."""
    bundle = tiny.write(tmp_path / "tiny")
    articles = tmp_path / "articles"
    articles.mkdir()
    for name in ("red", "yellow"):
        (articles / f"{name}.md").write_text(ARTICLE.format(id=name))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "gateway.toml").write_text(
        f"[model]\nbundle = '{bundle}'\ndevice = 'cpu'\n[knowledge.collections]\nbanking = '{articles}'\n"
    )
    folder = tmp_path / "audit"
    folder.mkdir()
    log = AuditLog(folder, 0, Marker(key_of(folder, None), 1.0), Terms(text_tenants=frozenset({"*"})))
    for text in tiny.questions(9):
        log.offer(Question(text, "banking"), ANSWER, "", 0.0)
    log.offer(Question("elsewhere", "acme/health"), ANSWER, "", 0.0)
    log.close()
    return tmp_path


def run(world: Path, *arguments: str) -> Result:
    where = ["--folder", str(world / "audit"), "--config", str(world / "gateway.toml")]
    return CliRunner().invoke(cli, ["replay", *where, *arguments])


def test_a_log_is_replayed_by_another_policy(world: Path) -> None:
    result = run(world, "--policy", "model_only", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["questions"], found["in_other_collections"], found["without_text"]) == (9, 1, 0)
    assert sum(both["other"]["value"] for both in found["routes"].values()) == pytest.approx(1.0)
    assert found["routes"]["retrieval"]["other"]["value"] == 0
    shown = run(world, "--policy", "model_only", "--limit", "3")
    assert "2 questions, 2 different ones" in shown.output
    assert "expected cost" in shown.output


def test_what_is_asked_again_is_watched_by_nobody_and_marks_nothing(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the replay of what has drifted would change its own thresholds on the way, and those of what serves."""
    monkeypatch.setenv("GATEWAY_AUDIT__FOLDER", str(world / "audit"))
    references.write(world / "tiny", data(), Knowledge((), (), {}))
    log = AuditLog(world / "audit", 0, Marker(key_of(world / "audit", None), 1.0), Terms(text_tenants=frozenset({"*"})))
    for _ in range(10 * BATCH):
        log.offer(Question("word7 word8", "banking"), ANSWER, "", 0.0)
    log.close()
    result = run(world, "--policy", "model_only", "--json")
    assert result.exit_code == 0, result.output
    assert "stale" not in result.output
    assert not (world / "audit" / doubts.FILE).exists()


def test_a_log_is_replayed_by_another_bundle_and_judged(world: Path) -> None:
    second = tiny.write(world / "second", version="2")
    with closing(Cases(world / "audit")) as cases:
        ids = cases.pending(100)
        for one in ids:
            cases.judge(Verdict(one, "default", is_wrong=True, document="red"), 0.0)
    found = json.loads(run(world, "--bundle", str(second), "--json").stdout)
    assert found["other_route"]["value"] == 0  # of the same weights
    assert found["policy"] == "as logged"
    assert found["judged"]["questions"] == 9


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ((), 2, "name the other way"),
        (("--policy", "parallel", "--tenant", "nobody"), 1, "no answer of that time and tenant"),
        (("--policy", "parallel", "--limit", "1"), 1, "none of its 10 questions"),
    ],
)
def test_what_cannot_be_replayed_is_said(world: Path, arguments: tuple[str, ...], code: int, words: str) -> None:
    result = run(world, *arguments)
    assert (result.exit_code, words in result.output) == (code, True), result.output


def test_a_log_without_texts_says_so(world: Path) -> None:
    for path in (world / "audit").rglob("*.texts.jsonl"):
        path.unlink()
    result = run(world, "--policy", "parallel")
    assert result.exit_code == 1
    assert "10 answers, and the text of no question" in result.output
