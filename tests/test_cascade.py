"""The cascade: which tiers are entered, and what comes back, with fake tiers and a clock moved by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from gateway.cascade.calibration import (
    Confidence,
    EvidenceCalibration,
    InformedCalibration,
    Logistic,
    ModelCalibration,
)
from gateway.cascade.cascade import Cascade, Label, Profile
from gateway.cascade.durations import MARGIN
from gateway.cascade.policy import Thresholds
from gateway.cascade.standing import POOLED, Promise
from gateway.deadline import Deadline
from gateway.errors import DeadlineExceeded, SearchFailed
from gateway.types import (
    Answer,
    CertificateStatus,
    Citation,
    Document,
    Hit,
    Lookup,
    Pass,
    Policy,
    Prediction,
    Principal,
    Question,
    Ranking,
    Reason,
    Route,
    Standing,
)

SURE, UNSURE = (4.0, 0.0), (0.1, 0.0)
EMBEDDING = np.array([1, 0], np.float32)


def document(name: str) -> Document:
    return Document(name, f"Title of {name}", f"https://help.example/{name}", "2026-01-01", f"Answer of {name}.", "")


def hit(name: str, similarity: float, citations: int) -> Hit:
    cited = [
        Citation(name, f"Title of {name}", "", "", at, at + 1, f"Passage {at} of {name}.", "", similarity - at / 100)
        for at in range(citations)
    ]
    return Hit(document(name), similarity, tuple(cited))


@dataclass
class ManualClock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


@dataclass
class FakeModel:
    """Fits cascade.tiers.ModelTier; says `logits` about everything, and takes `seconds` for it."""

    clock: ManualClock
    logits: tuple[float, ...] = SURE
    seconds: float = 0.001
    tenants: list[str] = field(default_factory=list)

    async def predict(self, text: str, deadline: Deadline, tenant: str = "default") -> Prediction:
        deadline.check("inference")
        self.tenants.append(tenant)
        self.clock.now += self.seconds
        logits = np.array([self.logits, UNSURE], np.float32)
        forward = Pass(logits, np.array([EMBEDDING, EMBEDDING]))
        return Prediction(forward, 0, 3, {"queue": 0.0, "infer": self.seconds})


@dataclass
class FakeKnowledge:
    """Fits cascade.tiers.KnowledgeTier; finds `hits`, and knows each label's document as `stands`."""

    clock: ManualClock
    hits: tuple[tuple[str, float], ...] = (("fees", 0.9), ("card", 0.5))
    stands: Standing = Standing.CURRENT
    stand_apart: dict[str, Standing] = field(default_factory=dict)
    readable: frozenset[str] = frozenset({"card", "fees", "post"})
    seconds: float = 0.001
    fails: bool = False
    searches: list[tuple[str, Principal, tuple[str, ...]]] = field(default_factory=list)
    reads: list[str] = field(default_factory=list)
    lookup: Lookup | None = None
    looks: list[tuple[str, str, Principal]] = field(default_factory=list)

    def rank(
        self, collection: str, prediction: Prediction, principal: Principal, least: int, also: Sequence[str] = ()
    ) -> Ranking:
        self.searches.append((collection, principal, tuple(also)))
        self.clock.now += self.seconds
        if self.fails:
            raise SearchFailed("the index is gone")
        return Ranking(self.hits, 7)

    def look(self, collection: str, text: str, prediction: Prediction, principal: Principal) -> Lookup | None:
        self.looks.append((collection, text, principal))
        if self.lookup is not None:
            self.clock.now += self.seconds
            if self.fails:
                raise SearchFailed("the index is gone")
        return self.lookup

    def standing(self, collection: str, document_id: str, known_hash: str, principal: Principal) -> Standing:
        return self.stand_apart.get(document_id, self.stands)

    def read(
        self, collection: str, document_id: str, prediction: Prediction, principal: Principal, citations: int
    ) -> Hit | None:
        self.reads.append(document_id)
        if self.fails:
            raise SearchFailed("the index is gone")
        return hit(document_id, 0.8, citations) if document_id in self.readable else None


CONFIDENCE = Confidence(
    right=Logistic((1, 0), 0.0, (0.0,) * 2, (1.0,) * 2),
    scope=Logistic((0,), 30.0, (0.0,), (1.0,)),
    joint=Logistic((1,), 0.0, (0.0,), (1.0,)),
)

# Confidence is the sigmoid of the margin, 0.98 for SURE and 0.52 for UNSURE; evidence is 0.71 for a similarity of 0.9.
PROFILE = Profile(
    bundle="banking/1",
    labels=(Label("where_is_my_card", "card", "hash"), Label("what_are_the_fees", "fees", "hash")),
    model=ModelCalibration(1.0, -1.0, np.eye(2, dtype=np.float32)[:, None], CONFIDENCE),
    evidence=EvidenceCalibration(Logistic((1, 0, 0), 0.0, (0.0,) * 3, (1.0,) * 3)),
    thresholds=Thresholds(answer=0.9, evidence=0.6, ensemble=0.3),
    certificate=Promise(CertificateStatus.VALID, 0.05, 0.1, ("cards", POOLED)),
)
INLINE = replace(PROFILE, labels=(Label("card", text="Ask at the counter."), Label("other", text="Call us.")))


class Room:
    """A cascade with its fakes, and one question for it."""

    def __init__(self, profile: Profile = PROFILE, has_knowledge: bool = True) -> None:
        self.clock = ManualClock()
        self.model = FakeModel(self.clock)
        self.knowledge = FakeKnowledge(self.clock)
        self.cascade = Cascade(self.model, self.knowledge if has_knowledge else None, profile, self.clock)

    async def ask(self, policy: Policy = Policy.CASCADE, seconds: float = 0.2) -> Answer:
        question = Question("Where is it?", "banking", Principal("acme"), policy, max_citations=2)
        return await self.cascade.answer(question, Deadline.after(seconds, self.clock))


@pytest.fixture
def room() -> Room:
    return Room()


async def test_a_confident_model_answers(room: Room) -> None:
    answer = await room.ask()
    assert (answer.route, answer.reason, answer.document_id) == (Route.MODEL, Reason.CONFIDENT, "card")
    assert answer.text == "Answer of card."
    assert answer.label == "where_is_my_card"


async def test_the_search_ranks_the_label_s_document_too(room: Room) -> None:
    await room.ask()
    assert room.knowledge.searches == [("banking", Principal("acme"), ("card",))]


async def test_the_other_policies_rank_whatever_the_model_says(room: Room) -> None:
    await room.ask(Policy.PARALLEL)
    assert room.knowledge.searches == [("banking", Principal("acme"), ())]


async def test_the_model_alone_is_asked_without_a_search(room: Room) -> None:
    assert (await room.ask(Policy.MODEL_ONLY)).route is Route.MODEL
    assert room.knowledge.searches == []


async def test_an_answer_says_what_it_rests_on(room: Room) -> None:
    answer = await room.ask()
    assert answer.model_confidence == answer.confidence == pytest.approx(1 / (1 + np.exp(-4)))
    assert answer.retrieval_confidence == pytest.approx(1 / (1 + np.exp(-0.9)))
    assert (answer.threshold, answer.certificate, answer.bundle) == (0.9, CertificateStatus.VALID, "banking/1")
    assert answer.batch_size == 2


async def test_an_unsure_model_hands_over_to_retrieval(room: Room) -> None:
    room.model.logits = UNSURE
    answer = await room.ask()
    assert (answer.route, answer.reason, answer.document_id) == (Route.RETRIEVAL, Reason.LOW_CONFIDENCE, "fees")
    assert answer.text == "Answer of fees."
    assert (answer.label, answer.knowledge_version) == ("", 7)
    assert len(answer.citations) == 2


async def test_a_question_far_from_every_prototype_is_out_of_scope() -> None:
    room = Room(replace(PROFILE, model=replace(PROFILE.model, scope_floor=1.5)))
    room.model.logits = UNSURE
    assert (await room.ask()).reason is Reason.OUT_OF_SCOPE


async def test_a_forbidden_answer_is_not_given_though_the_model_is_sure(room: Room) -> None:
    room.knowledge.stands = Standing.FORBIDDEN
    answer = await room.ask()
    assert (answer.route, answer.reason, answer.document_id) == (Route.RETRIEVAL, Reason.ANSWER_FORBIDDEN, "fees")


async def test_a_changed_answer_is_given_once_retrieval_agrees(room: Room) -> None:
    room.knowledge.stands, room.knowledge.hits = Standing.CHANGED, (("card", 0.2),)
    answer = await room.ask()
    assert (answer.route, answer.document_id) == (Route.MODEL, "card")
    assert len(room.knowledge.searches) == 1


async def test_a_passed_deadline_propagates(room: Room) -> None:
    with pytest.raises(DeadlineExceeded):
        await room.ask(seconds=0)


@pytest.mark.parametrize("policy", [Policy.CASCADE, Policy.PARALLEL, Policy.ENSEMBLE, Policy.RETRIEVAL_ONLY])
async def test_a_failed_search_is_an_abstention_and_in_the_log(
    room: Room, policy: Policy, caplog: pytest.LogCaptureFixture
) -> None:
    room.model.logits, room.knowledge.fails = UNSURE, True
    answer = await room.ask(policy)
    assert (answer.route, answer.reason) == (Route.ABSTAIN, Reason.RETRIEVAL_UNAVAILABLE)
    assert answer.retrieval_confidence is None
    assert "search" in answer.timings
    assert caplog.records[0].exc_info
    assert "the index is gone" in caplog.text


@pytest.mark.parametrize("policy", [Policy.PARALLEL, Policy.ENSEMBLE])
async def test_a_sure_model_answers_although_the_search_failed(policy: Policy) -> None:
    room = Room(INLINE)
    room.knowledge.fails = True
    answer = await room.ask(policy)
    assert (answer.route, answer.reason, answer.label) == (Route.MODEL, Reason.CONFIDENT, "card")


async def test_a_chosen_document_that_cannot_be_read_is_an_abstention(room: Room) -> None:
    room.knowledge.fails = True  # the search too: the model was sure enough without it
    answer = await room.ask()
    assert (answer.route, answer.reason, answer.text) == (Route.ABSTAIN, Reason.RETRIEVAL_UNAVAILABLE, "")


@pytest.mark.parametrize(("logits", "reason"), [(SURE, Reason.CONFIDENT), (UNSURE, Reason.BUDGET)])
async def test_in_a_brown_out_the_model_decides_alone(room: Room, logits: tuple[float, ...], reason: Reason) -> None:
    room.model.logits = logits
    question = Question("Where is it?", "banking", Principal("acme"), may_search=False)
    answer = await room.cascade.answer(question, Deadline.after(0.2, room.clock))
    assert (answer.reason, answer.retrieval_confidence) == (reason, None)
    assert replace(answer, knowledge_version=7).is_degraded
    assert room.knowledge.searches == []


async def test_the_model_hears_who_asks(room: Room) -> None:
    await room.ask()
    assert room.model.tenants == ["acme"]


async def test_no_time_for_a_search_is_an_abstention(room: Room) -> None:
    room.model.logits, room.model.seconds = UNSURE, 0.2
    answer = await room.ask(seconds=0.2)
    assert (answer.route, answer.reason, answer.text) == (Route.ABSTAIN, Reason.BUDGET, "")
    assert room.knowledge.searches == []
    assert answer.confidence == answer.model_confidence
    assert "search" not in answer.timings


async def test_a_search_starts_only_if_several_usual_ones_fit(room: Room) -> None:
    room.model.logits, room.knowledge.seconds = UNSURE, 0.01
    for _ in range(100):
        await room.ask()
    done = len(room.knowledge.searches)
    enough = MARGIN * room.knowledge.seconds + room.model.seconds
    assert (await room.ask(seconds=enough * 0.95)).reason is Reason.BUDGET
    assert len(room.knowledge.searches) == done
    await room.ask(seconds=enough * 1.05)
    assert len(room.knowledge.searches) == done + 1


async def test_one_stall_does_not_end_searching(room: Room) -> None:
    room.model.logits, room.knowledge.seconds = UNSURE, 2.0
    await room.ask(seconds=60)
    room.knowledge.seconds = 0.001
    reasons = [(await room.ask()).reason for _ in range(30)]
    assert reasons[0] is Reason.BUDGET
    assert reasons[-1] is Reason.LOW_CONFIDENCE


async def test_a_chosen_document_that_is_gone_is_an_abstention(room: Room) -> None:
    room.knowledge.readable = frozenset()
    answer = await room.ask()
    assert (answer.route, answer.reason) == (Route.ABSTAIN, Reason.ANSWER_WITHDRAWN)
    assert (answer.text, answer.label, answer.document_id) == ("", "", "")


async def test_a_label_with_both_document_and_text_does_not_outlive_its_document() -> None:
    label = replace(PROFILE.labels[0], text="What it said in the past.")
    room = Room(replace(PROFILE, labels=(label, PROFILE.labels[1])))
    room.knowledge.readable = frozenset()
    assert (await room.ask()).route is Route.ABSTAIN


async def test_a_label_with_its_own_text_answers_without_documents() -> None:
    room = Room(INLINE)
    room.knowledge.stands = Standing.WITHDRAWN
    answer = await room.ask()
    assert (answer.route, answer.text, answer.label) == (Route.MODEL, "Ask at the counter.", "card")
    assert (answer.document_id, answer.citations) == ("", ())


async def test_a_label_with_its_own_text_is_no_document_of_the_same_name() -> None:
    room = Room(INLINE)  # its first label is called as a document is
    await room.ask()
    assert room.knowledge.reads == []


async def test_an_abstention_suggests_the_nearest_documents(room: Room) -> None:
    room.model.logits, room.knowledge.hits = UNSURE, (("fees", 0.1), ("card", 0.05))
    answer = await room.ask()
    assert (answer.route, answer.reason) == (Route.ABSTAIN, Reason.NO_EVIDENCE)
    assert answer.suggestions == ("fees", "card")
    assert answer.confidence == max(answer.model_confidence or 0, answer.retrieval_confidence or 0)


async def test_an_abstention_cites_the_best_passage_of_each_of_the_nearest(room: Room) -> None:
    room.model.logits, room.knowledge.hits = UNSURE, (("fees", 0.1), ("card", 0.05), ("post", 0.01))
    answer = await room.ask()
    assert [one.quote for one in answer.citations] == ["Passage 0 of fees.", "Passage 0 of card."]


async def test_an_answer_suggests_nothing(room: Room) -> None:
    room.model.logits = UNSURE
    assert (await room.ask()).suggestions == ()


async def test_only_what_is_answered_is_read(room: Room) -> None:
    room.model.logits = UNSURE
    await room.ask()
    assert room.knowledge.reads == ["fees"]


async def test_the_ensemble_adds_up_labels_of_one_document() -> None:
    labels = (Label("lost", "card"), Label("stolen", "card"))
    room = Room(replace(PROFILE, labels=labels, thresholds=Thresholds(answer=0.9, evidence=0.6, ensemble=0.2)))
    room.model.logits, room.knowledge.hits = (0.0, 0.0), (("fees", -1.0),)
    answer = await room.ask(Policy.ENSEMBLE)
    assert (answer.route, answer.document_id) == (Route.ENSEMBLE, "card")
    assert answer.confidence == pytest.approx(0.5 * 0.5 * (0.5 + 0.5))


@pytest.mark.parametrize(("logits", "label"), [((4.0, 0.0), "lost"), ((0.0, 4.0), "stolen")])
@pytest.mark.parametrize("policy", [Policy.CASCADE, Policy.ENSEMBLE])
async def test_of_labels_with_one_document_the_predicted_one_is_named(
    policy: Policy, logits: tuple[float, ...], label: str
) -> None:
    room = Room(replace(PROFILE, labels=(Label("lost", "card"), Label("stolen", "card"))))
    room.model.logits = logits
    answer = await room.ask(policy)
    assert (answer.document_id, answer.label) == ("card", label)


async def test_the_ensemble_counts_only_labels_whose_documents_are_current(room: Room) -> None:
    room.knowledge.stand_apart = {"card": Standing.CHANGED}
    room.knowledge.hits = (("fees", 0.9), ("card", 0.5))
    answer = await room.ask(Policy.ENSEMBLE)
    probability = 1 - 1 / (1 + np.exp(-4))  # of fees, which stays in although it is not the best
    evidence = answer.retrieval_confidence or 0
    assert (answer.route, answer.document_id, answer.label) == (Route.ENSEMBLE, "fees", "")
    assert answer.confidence == pytest.approx(0.5 * (answer.model_confidence or 0) * probability + 0.5 * evidence)


async def test_the_ensemble_may_answer_with_a_label_s_own_text() -> None:
    room = Room(INLINE)
    room.knowledge.hits = (("card", -1.0),)
    answer = await room.ask(Policy.ENSEMBLE)
    assert (answer.route, answer.label, answer.text) == (Route.ENSEMBLE, "card", "Ask at the counter.")
    assert answer.document_id == ""


@pytest.mark.parametrize("policy", list(Policy))
async def test_without_a_knowledge_base_nothing_is_searched(policy: Policy) -> None:
    room = Room(has_knowledge=False)
    answer = await room.ask(policy)
    wanted = Reason.ANSWER_WITHDRAWN if policy is Policy.MODEL_ONLY else Reason.NO_EVIDENCE
    assert (answer.route, answer.reason, answer.citations) == (Route.ABSTAIN, wanted, ())
    assert answer.retrieval_confidence is None
    assert "search" not in answer.timings


@pytest.mark.parametrize("policy", [Policy.CASCADE, Policy.PARALLEL, Policy.ENSEMBLE, Policy.MODEL_ONLY])
async def test_without_a_knowledge_base_labels_with_a_text_of_their_own_answer(policy: Policy) -> None:
    answer = await Room(INLINE, has_knowledge=False).ask(policy)
    assert (answer.label, answer.text) == ("card", "Ask at the counter.")


async def test_every_entered_stage_is_timed(room: Room) -> None:
    room.model.logits, room.model.seconds, room.knowledge.seconds = UNSURE, 0.03, 0.02
    answer = await room.ask()
    assert answer.timings == pytest.approx({"queue": 0, "infer": 0.03, "calibrate": 0, "search": 0.02, "render": 0})


async def test_a_stage_that_was_not_entered_is_not_timed(room: Room) -> None:
    assert set((await room.ask(Policy.MODEL_ONLY)).timings) == {"queue", "infer", "calibrate", "render"}


# Informed, the confidence is the product of the sigmoids of the margin and of ten times the lead over the rival.
INFORMED = InformedCalibration(
    confidence=Confidence(
        right=Logistic((1, 0), 0.0, (0.0,) * 2, (1.0,) * 2),
        scope=Logistic((0,), 30.0, (0.0,), (1.0,)),
        joint=Logistic((1,), 0.0, (0.0,), (1.0,)),
        leading=Logistic((0, 0, 10), 0.0, (0.0,) * 3, (1.0,) * 3),
    ),
    sharpness=10.0,
    blend=Logistic((1, 0), 0.0, (0.0,) * 2, (1.0,) * 2),
)
KNOWING = replace(
    PROFILE,
    informed=INFORMED,
    thresholds=replace(PROFILE.thresholds, informed=0.85),
    informed_certificate=Promise(),
)


def sigmoid(value: float) -> float:
    return float(1 / (1 + np.exp(-value)))


async def test_a_sure_model_yields_to_a_nearer_document_that_it_cannot_know() -> None:
    room = Room(KNOWING)
    room.knowledge.hits = (("post", 0.9), ("card", 0.5))
    answer = await room.ask()
    assert (answer.route, answer.reason, answer.document_id) == (Route.RETRIEVAL, Reason.LOW_CONFIDENCE, "post")
    assert answer.label == ""
    assert answer.model_confidence == pytest.approx(sigmoid(4) * sigmoid(-4), rel=1e-4)
    assert answer.confidence == answer.retrieval_confidence == pytest.approx(1 - sigmoid(-4), rel=1e-4)


async def test_documents_of_other_labels_are_no_rivals() -> None:
    room = Room(KNOWING)
    room.knowledge.hits = (("fees", 0.9), ("card", 0.8), ("post", 0.3))
    answer = await room.ask()
    assert (answer.route, answer.document_id) == (Route.MODEL, "card")
    assert answer.confidence == pytest.approx(sigmoid(4) * sigmoid(5), rel=1e-4)


async def test_an_informed_answer_names_the_threshold_and_the_certificate_that_it_met() -> None:
    room = Room(KNOWING)
    room.knowledge.hits = (("card", 0.9), ("post", 0.1))
    answer = await room.ask()
    assert (answer.threshold, answer.certificate) == (0.85, CertificateStatus.INSUFFICIENT)
    alone = await room.ask(Policy.PARALLEL)
    assert (alone.threshold, alone.certificate) == (0.9, CertificateStatus.VALID)


async def test_a_doubtful_model_and_the_search_may_agree_on_its_document() -> None:
    room = Room(KNOWING)
    room.model.logits, room.knowledge.hits = (1.0, 0.0), (("card", 0.9), ("post", 0.1))
    answer = await room.ask()
    assert (answer.route, answer.reason, answer.document_id) == (Route.RETRIEVAL, Reason.LOW_CONFIDENCE, "card")
    assert answer.label == "where_is_my_card"
    assert answer.confidence == pytest.approx(sigmoid(8) * sigmoid(1), rel=1e-4)


@pytest.mark.parametrize("standing", [Standing.CHANGED, Standing.WITHDRAWN, Standing.FORBIDDEN])
async def test_of_a_document_that_is_not_as_it_was_each_tier_speaks_for_itself(standing: Standing) -> None:
    room = Room(KNOWING)
    room.knowledge.stands = standing
    assert (await room.ask()).model_confidence == pytest.approx(sigmoid(4))


async def test_a_document_that_was_not_ranked_informs_nobody() -> None:
    room = Room(KNOWING)
    room.knowledge.hits = (("post", 0.9),)
    answer = await room.ask()
    assert answer.model_confidence == pytest.approx(sigmoid(4))
    assert answer.threshold == 0.85  # as certified: that of all answers after a search


@pytest.mark.parametrize("seconds", [0.2, 0.001])
async def test_a_search_that_fails_or_does_not_fit_leaves_the_model_to_itself(seconds: float) -> None:
    room = Room(KNOWING)
    room.knowledge.fails = seconds > 0.1
    room.model.seconds = 0.001
    answer = await room.ask(Policy.CASCADE, seconds)
    assert answer.model_confidence == pytest.approx(sigmoid(4))
    assert (answer.threshold, answer.certificate) == (0.9, CertificateStatus.VALID)


# -- a collection with a confidence of its own ------------------------------------------------------------------------

LOOKED = Lookup(Ranking((("post", 1.4), ("fees", 0.6)), 7), 0.7, 0.65)
WITHOUT = [Standing.CHANGED, Standing.WITHDRAWN, Standing.FORBIDDEN]


@pytest.mark.parametrize("standing", WITHOUT)
async def test_a_collection_s_own_confidence_decides_where_the_label_has_no_document_there(standing: Standing) -> None:
    room = Room(KNOWING)
    room.knowledge.stands, room.knowledge.lookup = standing, LOOKED
    answer = await room.ask()
    assert (answer.route, answer.document_id, answer.text) == (Route.RETRIEVAL, "post", "Answer of post.")
    assert answer.confidence == answer.retrieval_confidence == 0.7
    assert [one.document_id for one in answer.citations] == ["post", "post"]
    assert room.knowledge.looks == [("banking", "Where is it?", Principal("acme"))]
    assert room.knowledge.searches == []  # one search, not two
    assert set(answer.timings) == {"queue", "infer", "calibrate", "search", "render"}


@pytest.mark.parametrize("policy", [Policy.CASCADE, Policy.PARALLEL, Policy.RETRIEVAL_ONLY])
async def test_below_its_threshold_it_abstains_whatever_the_bundle_s_is(policy: Policy) -> None:
    room = Room(KNOWING)  # whose own is .6
    room.knowledge.stands = Standing.WITHDRAWN
    room.knowledge.lookup = replace(LOOKED, confidence=0.64)
    answer = await room.ask(policy)
    assert (answer.route, answer.reason, answer.retrieval_confidence) == (Route.ABSTAIN, Reason.NO_EVIDENCE, 0.64)
    assert answer.suggestions == ("post", "fees")
    room.knowledge.lookup = replace(LOOKED, confidence=0.2, threshold=0.2)
    assert (await room.ask(policy)).route is Route.RETRIEVAL


async def test_in_the_ensemble_its_scores_share_out_no_more_than_its_confidence() -> None:
    room = Room(replace(PROFILE, thresholds=replace(PROFILE.thresholds, ensemble=0.0)))
    room.knowledge.stands, room.knowledge.lookup = Standing.WITHDRAWN, LOOKED
    answer = await room.ask(Policy.ENSEMBLE)
    assert answer.document_id == "post"
    assert answer.confidence == pytest.approx(0.5 * 0.7)


async def test_a_label_with_its_own_text_has_no_document_there() -> None:
    room = Room(INLINE)
    room.model.logits, room.knowledge.lookup = UNSURE, LOOKED
    assert (await room.ask()).document_id == "post"


@pytest.mark.parametrize("policy", list(Policy))
@pytest.mark.parametrize("logits", [SURE, UNSURE])
async def test_where_the_label_s_document_is_current_nothing_is_different(
    policy: Policy, logits: tuple[float, ...]
) -> None:
    answers = []
    for lookup in (None, LOOKED):
        room = Room(KNOWING)
        room.model.logits, room.knowledge.lookup = logits, lookup
        room.knowledge.hits = (("post", 0.9), ("card", 0.5))
        answers.append(await room.ask(policy))
        assert room.knowledge.looks == []
    assert answers[0] == answers[1]


@pytest.mark.parametrize("policy", list(Policy))
async def test_a_collection_without_one_is_ranked_as_ever(policy: Policy) -> None:
    room = Room(KNOWING)
    room.knowledge.stands = Standing.WITHDRAWN
    answer = await room.ask(policy)
    assert len(room.knowledge.searches) == (policy is not Policy.MODEL_ONLY)
    if policy is not Policy.MODEL_ONLY:
        assert answer.retrieval_confidence == pytest.approx(sigmoid(0.9))


async def test_a_lookup_that_fails_is_not_tried_another_way(room: Room) -> None:
    room.knowledge.stands, room.knowledge.lookup, room.knowledge.fails = Standing.WITHDRAWN, LOOKED, True
    answer = await room.ask()
    assert (answer.reason, room.knowledge.searches) == (Reason.RETRIEVAL_UNAVAILABLE, [])


async def test_in_a_brown_out_it_is_not_looked_up(room: Room) -> None:
    room.knowledge.stands, room.knowledge.lookup = Standing.WITHDRAWN, LOOKED
    question = Question("Where is it?", "banking", Principal("acme"), may_search=False)
    answer = await room.cascade.answer(question, Deadline.after(0.2, room.clock))
    assert (answer.reason, room.knowledge.looks) == (Reason.BUDGET, [])


def test_questions_of_one_pass_are_each_decided_by_their_own_numbers() -> None:
    clock = ManualClock()
    cascade = Cascade(FakeModel(clock), FakeKnowledge(clock), PROFILE, clock)
    forward = Pass(np.array([SURE, UNSURE, SURE[::-1]], np.float32), np.array([EMBEDDING] * 3))
    question = Question("What?", "banking", policy=Policy.MODEL_ONLY)
    answers = [cascade.decide(Prediction(forward, row, 3, {}), question, Deadline.after(1, clock)) for row in (2, 0, 1)]
    assert [answer.document_id for answer in answers] == ["fees", "card", ""]
    assert [answer.batch_size for answer in answers] == [3, 3, 3]
