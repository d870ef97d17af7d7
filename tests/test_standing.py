"""A certificate that goes stale: the stricter thresholds take over with the next decision, and everything says so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gateway import assembly
from gateway.assembled import Assembled
from gateway.cascade.policy import NEVER, ModelSays, RetrievalSays, Thresholds, cascade, doubt
from gateway.cascade.standing import POOLED, CertificateStanding, Part, Promise, Terms
from gateway.config import CascadeSection, Config, KnowledgeSection, ModelSection
from gateway.deadline import Deadline
from gateway.types import CertificateStatus, Doubter, Policy, Principal, Question, Reason, Route, Standing
from tests import tiny
from tests.test_cascade import PROFILE, Room

FRESH = Thresholds(answer=0.8, evidence=0.6, informed=0.7)
VALID, STALE, INSUFFICIENT = CertificateStatus.VALID, CertificateStatus.STALE, CertificateStatus.INSUFFICIENT


def model(confidence: float, in_scope: bool = True, is_informed: bool = False) -> ModelSays:
    return ModelSays("card", confidence, Standing.CURRENT, in_scope, {}, "card", is_informed)


def stricter(threshold: float) -> Terms:
    """The terms of a stale certificate of PROFILE."""
    return Terms(PROFILE.thresholds.stricter(threshold), Promise(STALE, 0.02, 0.3, (POOLED, POOLED)), Promise())


def test_the_first_reason_stays(caplog: pytest.LogCaptureFixture) -> None:
    standing = CertificateStanding()
    assert (standing.is_stale, standing.reason) == (False, "")
    for reason in ("the share of routes moved", "the martingale tripped"):
        standing.mark_stale(reason)
    assert (standing.is_stale, standing.reason) == (True, "the share of routes moved")
    assert caplog.text.count("stale") == 1
    assert "the share of routes moved" in caplog.text


def test_a_part_is_stale_by_itself() -> None:
    standing = CertificateStanding()
    for part in (Part(tenant="acme"), Part(collection="law")):
        standing.mark_stale("it moved", Doubter.DRIFT, part)
    asked = [("acme", "bank"), ("other", "law"), ("other", "bank"), ("law", "acme"), ("", "")]
    found = [standing.is_stale_for(Question("?", collection, Principal(tenant))) for tenant, collection in asked]
    assert found == [True, True, False, False, False]
    assert (standing.is_stale, standing.reason) == (False, "")
    assert standing.parts.keys() == {Part(tenant="acme"), Part(collection="law")}


async def test_only_the_part_goes_by_the_stricter_threshold() -> None:
    """The room's questions are of tenant acme."""
    for tenant, status in (("acme", STALE), ("other", VALID)):
        room = Room()
        room.cascade.standing.mark_stale("it moved", Doubter.DRIFT, Part(tenant=tenant))
        assert (await room.ask()).certificate is status


def test_an_operator_takes_back_what_one_monitor_has_found() -> None:
    standing = CertificateStanding()
    standing.mark_stale("it moved", Doubter.DRIFT)
    standing.mark_stale("a tenant moved", Doubter.DRIFT, Part(tenant="acme"))
    standing.mark_stale("too many errors", Doubter.FEEDBACK)
    standing.renew(Doubter.DRIFT)
    assert (standing.is_stale, standing.reason, standing.parts) == (True, "too many errors", {})
    standing.renew(Doubter.FEEDBACK)
    assert (standing.is_stale, standing.reason) == (False, "")
    standing.mark_stale("it moved again", Doubter.DRIFT)
    assert standing.reason == "it moved again"


@pytest.mark.parametrize(("given", "then"), [(VALID, STALE), (INSUFFICIENT, INSUFFICIENT)])
def test_what_never_held_does_not_become_stale(given: CertificateStatus, then: CertificateStatus) -> None:
    terms = Terms(FRESH, Promise(given, 0.05), Promise(VALID, 0.05)).closed()
    assert (terms.promise(False).status, terms.promise(True).status) == (then, STALE)


def test_without_a_stricter_threshold_the_model_answers_nothing() -> None:
    terms = Terms(FRESH, Promise(VALID), Promise(VALID)).closed()
    assert (terms.threshold(False), terms.threshold(True)) == (NEVER, NEVER)
    assert terms.thresholds.evidence == FRESH.evidence


@pytest.mark.parametrize(
    ("confidence", "is_informed", "why"),
    [
        (0.96, False, None),
        (0.94, False, Reason.CERTIFICATE_STALE),
        (0.8, False, Reason.CERTIFICATE_STALE),
        (0.79, False, Reason.LOW_CONFIDENCE),
        (0.9, True, None),
        (0.89, True, Reason.CERTIFICATE_STALE),
        (0.69, True, Reason.LOW_CONFIDENCE),
    ],
)
def test_the_reason_names_the_certificate_where_it_alone_is_why(
    confidence: float, is_informed: bool, why: Reason | None
) -> None:
    assert doubt(model(confidence, is_informed=is_informed), FRESH.stricter(0.95, 0.9)) is why


def test_retrieval_takes_over_what_the_model_is_not_trusted_with() -> None:
    choice = cascade(model(0.9), RetrievalSays((("fees", 0.9),), 0.7), FRESH.stricter(0.95))
    assert (choice.route, choice.reason, choice.document_id) == (Route.RETRIEVAL, Reason.CERTIFICATE_STALE, "fees")


async def test_the_stricter_threshold_takes_over_with_the_next_question() -> None:
    room = Room(replace(PROFILE, back_off=stricter(0.99)))
    before = await room.ask()
    room.cascade.standing.mark_stale("it moved")
    after = await room.ask()
    assert (before.route, before.threshold, before.certificate) == (Route.MODEL, 0.9, VALID)
    assert (after.route, after.threshold, after.certificate) == (Route.RETRIEVAL, 0.99, STALE)
    assert after.reason is Reason.CERTIFICATE_STALE


async def test_a_surer_answer_still_comes_from_the_model_and_says_stale() -> None:
    room = Room(replace(PROFILE, back_off=stricter(0.95)))
    room.cascade.standing.mark_stale("it moved")
    answer = await room.ask()
    assert (answer.route, answer.reason, answer.certificate) == (Route.MODEL, Reason.CONFIDENT, STALE)
    promised = answer.certificate_group, answer.certified_risk, answer.certified_oos_share
    assert promised == (POOLED, 0.02, 0.3)


async def test_nothing_is_answered_from_the_cache_by_the_looser_threshold(tmp_path: Path) -> None:
    folder = tiny.write(tmp_path / "bundle")
    tiny.certify(folder, alone=(0.05, 0.995))
    config = Config(
        model=ModelSection(bundle=folder),
        knowledge=KnowledgeSection(collections={}),
        cascade=CascadeSection(cached_answers=10),
    )
    gateway = assembly.assemble(config)
    gateway.start()
    try:
        text = next(text for text in tiny.questions(50) if tiny_label(gateway, text) != "red")
        question = Question(text, "", policy=Policy.MODEL_ONLY)
        routes = [(await gateway.answer(question, Deadline.after(30))).route for _ in range(2)]
        assert gateway.describe().certificate is VALID
        gateway.standing.mark_stale("it moved")
        answer = await gateway.answer(question, Deadline.after(30))
        assert routes == [Route.MODEL, Route.MODEL]
        assert (answer.route, answer.reason, answer.certificate) == (Route.ABSTAIN, Reason.CERTIFICATE_STALE, STALE)
        described = gateway.describe()
        assert (described.certificate, described.certificate_reason) == (STALE, "it moved")
        assert (described.threshold, described.certified_risk) == (0.995, 0.025)
    finally:
        await gateway.close()


def tiny_label(gateway: Assembled, text: str) -> str:
    """What the miniature model takes it for; red stands for a document, the others for texts of their own."""
    logits, _ = gateway.engine.outputs([text])
    return tiny.LABELS[int(logits[0].argmax())]
