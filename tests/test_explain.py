"""An explanation: the cascade's own decision, and every tier with why it answered, did not, or was never tried."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway import doubts
from gateway.cascade.explanation import Explanation, explain
from gateway.cascade.policy import NEVER
from gateway.cascade.standing import POOLED, Doubt, Promise
from gateway.cli.main import cli
from gateway.deadline import Deadline
from gateway.model import bundle as bundles
from gateway.types import (
    CertificateStatus,
    Doubter,
    Lookup,
    Policy,
    Principal,
    Question,
    Ranking,
    Reason,
    Route,
    Standing,
)
from tests import tiny
from tests.test_cascade import INLINE, KNOWING, PROFILE, UNSURE, Room

ROOT = Path(__file__).parent.parent


async def explained(room: Room, policy: Policy = Policy.CASCADE, collection: str = "banking") -> Explanation:
    question = Question("Where is it?", collection, Principal("acme"), policy, max_citations=2)
    knowledge = room.knowledge if collection else None
    return await explain(room.model, knowledge, room.cascade.profile, question, Deadline.after(0.2, room.clock))


async def test_the_decision_is_that_of_the_cascade() -> None:
    room = Room(KNOWING)
    room.knowledge.hits = (("card", 0.9), ("post", 0.1))
    found, answer = await explained(room), await room.ask()
    assert replace(found.answer, timings={}) == replace(answer, timings={})


async def test_a_sure_model_answers_with_all_that_its_confidence_is_made_of() -> None:
    room = Room(replace(KNOWING, informed_certificate=Promise(CertificateStatus.VALID, 0.05, 0.1, (POOLED,) * 2)))
    room.knowledge.hits = (("card", 0.9), ("post", 0.1))
    found = await explained(room)
    model, retrieval = found.tried
    assert (model.tier, model.has_run, model.answered) == ("model", True, True)
    assert model.why == f"its confidence {found.confidence:.3f} reaches 0.850"
    assert (retrieval.has_run, retrieval.answered) == (True, False)
    assert list(found.features) == ["log_odds", "prototype", "prototype_gap", "own", "lead"]
    assert [found.features[name] for name in ("own", "lead")] == pytest.approx([0.9, 0.8])
    assert [name for name, _ in found.labels] == ["where_is_my_card", "what_are_the_fees"]
    assert sum(probability for _, probability in found.labels) == pytest.approx(1)
    assert (found.is_informed, found.threshold, found.standing) == (True, 0.85, Standing.CURRENT)
    assert found.alone == pytest.approx(0.982, abs=1e-3)
    assert found.documents == (("card", 0.9), ("post", 0.1))
    assert found.certificate.stale_threshold == NEVER
    assert (found.certificate.status, found.certificate.group) == (CertificateStatus.VALID, POOLED)


async def test_retrieval_that_answers_says_which_threshold_it_reached() -> None:
    room = Room()
    room.model.logits = UNSURE
    found = await explained(room)
    model, retrieval = found.tried
    assert model.why == f"its confidence {found.confidence:.3f} is below 0.900"
    assert (retrieval.answered, retrieval.why) == (True, f"its confidence {found.evidence:.3f} reaches 0.600")
    assert list(found.features) == ["log_odds", "prototype", "prototype_gap"]
    assert not found.is_informed


async def test_a_model_whose_document_is_gone_says_so() -> None:
    room = Room()
    room.knowledge.stands = Standing.WITHDRAWN
    found = await explained(room)
    assert found.standing is Standing.WITHDRAWN
    assert "reaches 0.900, but its document is withdrawn" in found.tried[0].why


async def test_a_model_that_another_policy_passed_over_says_so() -> None:
    room = Room(replace(PROFILE, thresholds=replace(PROFILE.thresholds, ensemble=0.1)))
    found = await explained(room, Policy.ENSEMBLE)
    assert found.answer.route is Route.ENSEMBLE
    assert "but the policy ensemble preferred another" in found.tried[0].why


async def test_without_a_certificate_the_model_cannot_answer() -> None:
    thresholds = replace(PROFILE.thresholds, answer=NEVER)
    found = await explained(Room(replace(PROFILE, thresholds=thresholds, certificate=Promise())))
    assert found.tried[0].why == "no threshold of it is certified, so it answers nothing"
    assert (found.certificate.status, found.certificate.risk) == (CertificateStatus.INSUFFICIENT, 0)


async def test_a_search_is_skipped_for_a_reason() -> None:
    assert (await explained(Room(), Policy.MODEL_ONLY)).tried[1].why == "the policy asks the model alone"
    inline = await explained(Room(INLINE), collection="")
    assert inline.tried[1].why == "there is no collection to search"
    assert inline.standing is Standing.CURRENT
    assert (await explained(Room(), collection="")).standing is Standing.WITHDRAWN
    room = Room()
    room.model.seconds = 0.2  # all of the time
    late = await explained(room)
    assert late.tried[1].why == "there was no time left for a search"
    assert (late.documents, late.evidence) == ((), None)


async def test_a_search_that_failed_says_how() -> None:
    room = Room()
    room.knowledge.fails, room.model.logits = True, UNSURE
    found = await explained(room)
    assert found.answer.reason is Reason.RETRIEVAL_UNAVAILABLE
    assert found.tried[1].why == "the search failed: the index is gone"


async def test_a_collection_s_own_confidence_has_its_own_threshold() -> None:
    room = Room()
    room.model.logits, room.knowledge.stands = UNSURE, Standing.CHANGED
    room.knowledge.lookup = Lookup(Ranking((("fees", 1.4),), 7), 0.5, 0.7)
    found = await explained(room)
    assert (found.evidence, found.evidence_threshold) == (0.5, 0.7)
    assert found.tried[1].why == "its confidence 0.500 is below 0.700"


def command(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["explain", *map(str, arguments)], catch_exceptions=False)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tiny.write(tmp_path / "tiny")


@pytest.mark.usefixtures("folder")
def test_the_shipped_bundle_explains_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    shown = command("The cash machine kept my card").output
    for part in (
        "retrieval",
        "card-swallowed",
        "model did not answer",
        "is below 0.920",
        "while stale",
        "pooled",
        "time",
    ):
        assert part in shown


def test_everything_is_there_as_json(folder: Path) -> None:
    done = command("word1 word2", "--bundle", folder, "--json")
    assert done.exit_code == 0
    found = json.loads(done.output)
    assert [one["tier"] for one in found["tried"]] == ["model", "retrieval"]
    assert found["tried"][1]["why"] == "there is no collection to search"
    assert found["certificate"]["stale_threshold"] == 0.9
    assert found["answer"]["bundle"] == "tiny/1"
    assert set(found["answer"]["timings"]) >= {"tokenize", "infer", "calibrate"}


def test_a_certificate_that_a_server_has_found_stale_is_stale_here_too(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAY_DRIFT__MARKS", str(tmp_path / "stale.json"))
    keeper = doubts.Doubts(tmp_path / "stale.json", bundles.load(folder).manifest_sha256)
    keeper.keep(Doubt(Doubter.DRIFT, None, "it moved"))
    keeper.settle()
    found = json.loads(command("word1", "--bundle", folder, "--json").stdout)
    assert found["answer"]["certificate"] == "stale"


def test_an_empty_question_is_none() -> None:
    done = command(" ")
    assert (done.exit_code, "QUESTION is empty" in done.output) == (2, True)


def test_what_is_not_served_is_not_searched(folder: Path) -> None:
    done = command("word1", "--bundle", folder, "--collection", "law")
    assert done.exit_code == 2
    assert "--collection law: served would be none" in done.output


def test_a_deadline_that_nothing_meets_is_said(folder: Path) -> None:
    done = command("word1", "--bundle", folder, "--timeout-ms", 0.001)
    assert done.exit_code == 1
    assert "--timeout-ms" in done.output
