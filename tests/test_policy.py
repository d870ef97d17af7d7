"""The policies: each one's table of what the tiers said and what is answered."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cascade.policy import (
    POLICIES,
    SEARCHES,
    Choice,
    ModelSays,
    Retrieval,
    RetrievalSays,
    Thresholds,
    doubt,
)
from gateway.types import Policy, Reason, Route, Standing

THRESHOLDS = Thresholds(answer=0.8, evidence=0.6, ensemble=0.5, weight=0.5)


def says(
    confidence: float = 0.9,
    standing: Standing = Standing.CURRENT,
    in_scope: bool = True,
    document_id: str = "card",
    known: dict[str, float] | None = None,
) -> ModelSays:
    return ModelSays(document_id, confidence, standing, in_scope, known or {document_id: 1.0}, "where_is_my_card")


def found(confidence: float = 0.7, *documents: tuple[str, float]) -> RetrievalSays:
    return RetrievalSays(documents or (("fees", 0.8), ("card", 0.5)), confidence)


WEAK, STRONG = found(0.3), found(0.7)
LOW, OUTSIDE = says(0.5), says(0.5, in_scope=False)
CHANGED, WITHDRAWN, FORBIDDEN = (
    says(standing=one) for one in (Standing.CHANGED, Standing.WITHDRAWN, Standing.FORBIDDEN)
)
LATE, DOWN = Reason.BUDGET, Reason.RETRIEVAL_UNAVAILABLE


def by_model(confidence: float = 0.9, reason: Reason = Reason.CONFIDENT) -> Choice:
    return Choice(Route.MODEL, reason, confidence, "card", "where_is_my_card")


def nothing(reason: Reason, confidence: float) -> Choice:
    return Choice(Route.ABSTAIN, reason, confidence)


BY_MODEL = by_model()


def by_retrieval(reason: Reason) -> Choice:
    return Choice(Route.RETRIEVAL, reason, 0.7, "fees")


@pytest.mark.parametrize(
    ("model", "retrieval", "choice"),
    [
        (says(), LATE, BY_MODEL),
        (says(), DOWN, BY_MODEL),
        (says(), STRONG, BY_MODEL),
        (LOW, LATE, nothing(LATE, 0.5)),
        (LOW, DOWN, nothing(DOWN, 0.5)),
        (LOW, WEAK, nothing(Reason.NO_EVIDENCE, 0.5)),
        (says(0.1), WEAK, nothing(Reason.NO_EVIDENCE, 0.3)),
        (LOW, STRONG, by_retrieval(Reason.LOW_CONFIDENCE)),
        (OUTSIDE, STRONG, by_retrieval(Reason.OUT_OF_SCOPE)),
        (OUTSIDE, WEAK, nothing(Reason.NO_EVIDENCE, 0.5)),
        (CHANGED, LATE, nothing(LATE, 0.9)),
        (CHANGED, STRONG, by_retrieval(Reason.ANSWER_CHANGED)),
        (CHANGED, WEAK, nothing(Reason.NO_EVIDENCE, 0.9)),
        (CHANGED, found(0.3, ("card", 0.8)), BY_MODEL),
        (WITHDRAWN, DOWN, nothing(DOWN, 0.9)),
        (WITHDRAWN, STRONG, by_retrieval(Reason.ANSWER_WITHDRAWN)),
        (WITHDRAWN, WEAK, nothing(Reason.NO_EVIDENCE, 0.9)),
        (FORBIDDEN, STRONG, by_retrieval(Reason.ANSWER_FORBIDDEN)),
        (FORBIDDEN, WEAK, nothing(Reason.NO_EVIDENCE, 0.9)),
        (None, LATE, nothing(LATE, 0.0)),
        (None, STRONG, by_retrieval(Reason.MODEL_UNAVAILABLE)),
        (None, WEAK, nothing(Reason.NO_EVIDENCE, 0.3)),
    ],
)
def test_cascade_takes_retrieval_only_where_the_model_may_not_answer(
    model: ModelSays | None, retrieval: Retrieval, choice: Choice
) -> None:
    assert POLICIES[Policy.CASCADE](model, retrieval, THRESHOLDS) == choice


@pytest.mark.parametrize(
    ("model", "retrieval", "choice"),
    [
        (says(0.9), STRONG, BY_MODEL),
        (says(0.9), LATE, BY_MODEL),
        (says(0.9), DOWN, BY_MODEL),
        (says(0.85), found(0.95), Choice(Route.RETRIEVAL, Reason.CONFIDENT, 0.95, "fees")),
        (says(0.9), WEAK, BY_MODEL),
        (says(0.95), found(0.95), by_model(0.95)),
        (LOW, STRONG, by_retrieval(Reason.LOW_CONFIDENCE)),
        (LOW, WEAK, nothing(Reason.NO_EVIDENCE, 0.5)),
        (LOW, LATE, nothing(LATE, 0.5)),
        (LOW, DOWN, nothing(DOWN, 0.5)),
        (FORBIDDEN, STRONG, by_retrieval(Reason.ANSWER_FORBIDDEN)),
        (WITHDRAWN, WEAK, nothing(Reason.NO_EVIDENCE, 0.9)),
        (None, STRONG, by_retrieval(Reason.MODEL_UNAVAILABLE)),
    ],
)
def test_parallel_takes_the_surer_of_those_that_may_answer(
    model: ModelSays | None, retrieval: Retrieval, choice: Choice
) -> None:
    assert POLICIES[Policy.PARALLEL](model, retrieval, THRESHOLDS) == choice


@pytest.mark.parametrize(
    ("model", "choice"),
    [
        (says(), by_model(reason=Reason.FORCED)),
        (LOW, Choice(Route.ABSTAIN, Reason.LOW_CONFIDENCE, 0.5)),
        (OUTSIDE, Choice(Route.ABSTAIN, Reason.OUT_OF_SCOPE, 0.5)),
        (CHANGED, Choice(Route.ABSTAIN, Reason.ANSWER_CHANGED, 0.9)),
        (WITHDRAWN, Choice(Route.ABSTAIN, Reason.ANSWER_WITHDRAWN, 0.9)),
        (FORBIDDEN, Choice(Route.ABSTAIN, Reason.ANSWER_FORBIDDEN, 0.9)),
        (None, Choice(Route.ABSTAIN, Reason.MODEL_UNAVAILABLE, 0.0)),
    ],
)
def test_model_only_ignores_retrieval(model: ModelSays | None, choice: Choice) -> None:
    assert POLICIES[Policy.MODEL_ONLY](model, found(0.99, ("card", 0.9)), THRESHOLDS) == choice


@pytest.mark.parametrize(
    ("retrieval", "choice"),
    [
        (STRONG, by_retrieval(Reason.FORCED)),
        (WEAK, nothing(Reason.NO_EVIDENCE, 0.3)),
        (LATE, nothing(LATE, 0.0)),
        (DOWN, nothing(DOWN, 0.0)),
    ],
)
def test_retrieval_only_ignores_the_model(retrieval: Retrieval, choice: Choice) -> None:
    assert POLICIES[Policy.RETRIEVAL_ONLY](says(0.99), retrieval, THRESHOLDS) == choice


def test_ensemble_adds_both_masses() -> None:
    model = says(0.8, known={"card": 0.75, "fees": 0.25})
    choice = POLICIES[Policy.ENSEMBLE](model, found(0.6, ("card", 0.9), ("fees", 0.85)), THRESHOLDS)
    assert choice.route is Route.ENSEMBLE
    assert choice.document_id == "card"
    assert choice.confidence == pytest.approx(0.5 * 0.8 * 0.75 + 0.5 * 0.6 * 1.0)


def test_ensemble_shares_decay_with_the_distance_from_the_first() -> None:
    model = says(1.0, document_id="fees", known={"fees": 1.0})
    choice = POLICIES[Policy.ENSEMBLE](model, found(0.5, ("card", 0.9), ("fees", 0.85)), THRESHOLDS)
    assert choice.document_id == "fees"
    assert choice.confidence == pytest.approx(0.5 + 0.5 * 0.5 * math.exp(-20 * 0.05))


def test_ensemble_weight_is_the_model_share() -> None:
    thresholds = Thresholds(answer=0.8, evidence=0.6, ensemble=0.0, weight=0.75)
    choice = POLICIES[Policy.ENSEMBLE](says(0.8), found(0.4, ("fees", 0.9)), thresholds)
    assert choice.document_id == "card"
    assert choice.confidence == pytest.approx(0.6)


def test_ensemble_gives_nothing_to_what_is_not_known_to_be_current() -> None:
    thresholds = Thresholds(answer=0.8, evidence=0.6, ensemble=0.3, weight=0.5)
    model = says(1.0, Standing.WITHDRAWN, known={"fees": 0.25})
    choice = POLICIES[Policy.ENSEMBLE](model, found(0.7, ("fees", 0.9)), thresholds)
    assert (choice.route, choice.document_id) == (Route.ENSEMBLE, "fees")
    assert choice.confidence == pytest.approx(0.5 * 0.25 + 0.35)


def test_ensemble_names_the_label_only_of_what_the_model_predicted() -> None:
    thresholds = Thresholds(answer=0.8, evidence=0.6, ensemble=0.1, weight=0.5)
    by_both = POLICIES[Policy.ENSEMBLE](says(), found(0.3, ("fees", 0.9)), thresholds)
    against = POLICIES[Policy.ENSEMBLE](says(0.2), found(0.9, ("fees", 0.9)), thresholds)
    assert (by_both.document_id, by_both.label) == ("card", "where_is_my_card")
    assert (against.document_id, against.label) == ("fees", "")


def test_ensemble_abstains_where_neither_side_has_enough() -> None:
    choice = POLICIES[Policy.ENSEMBLE](LOW, WEAK, THRESHOLDS)
    assert (choice.route, choice.reason, choice.document_id) == (Route.ABSTAIN, Reason.NO_EVIDENCE, "")


def test_ensemble_without_evidence_of_anything_abstains() -> None:
    model = ModelSays("card", 0.9, Standing.WITHDRAWN, True, {})
    choice = POLICIES[Policy.ENSEMBLE](model, RetrievalSays((), 0.0), THRESHOLDS)
    assert choice == Choice(Route.ABSTAIN, Reason.NO_EVIDENCE, 0.0)


@pytest.mark.parametrize("silence", [LATE, DOWN])
def test_ensemble_without_retrieval_decides_as_the_cascade(silence: Reason) -> None:
    assert POLICIES[Policy.ENSEMBLE](says(), silence, THRESHOLDS) == BY_MODEL
    assert POLICIES[Policy.ENSEMBLE](LOW, silence, THRESHOLDS) == nothing(silence, 0.5)


@pytest.mark.parametrize("policy", [Policy.CASCADE, Policy.PARALLEL, Policy.MODEL_ONLY])
def test_a_confidence_equal_to_the_threshold_is_accepted(policy: Policy) -> None:
    assert POLICIES[policy](says(THRESHOLDS.answer), WEAK, THRESHOLDS).route is Route.MODEL


@pytest.mark.parametrize("policy", [Policy.CASCADE, Policy.PARALLEL, Policy.RETRIEVAL_ONLY])
def test_evidence_equal_to_the_threshold_is_accepted(policy: Policy) -> None:
    assert POLICIES[policy](LOW, found(THRESHOLDS.evidence), THRESHOLDS).route is Route.RETRIEVAL


def test_an_ensemble_equal_to_the_threshold_is_accepted() -> None:
    thresholds = Thresholds(answer=0.8, evidence=0.6, ensemble=0.5, weight=0.5)
    assert POLICIES[Policy.ENSEMBLE](says(1.0), found(0.0, ("fees", 0.9)), thresholds).route is Route.ENSEMBLE


def test_only_the_model_alone_asks_for_no_search() -> None:
    assert frozenset(Policy) - SEARCHES == {Policy.MODEL_ONLY}


def test_an_informed_confidence_has_a_threshold_of_its_own() -> None:
    thresholds = Thresholds(answer=0.8, evidence=0.6, informed=0.95)
    informed = replace(says(0.9), is_informed=True)
    assert POLICIES[Policy.CASCADE](says(0.9), WEAK, thresholds).route is Route.MODEL
    assert POLICIES[Policy.CASCADE](informed, WEAK, thresholds).route is Route.ABSTAIN
    assert POLICIES[Policy.CASCADE](replace(informed, confidence=0.95), WEAK, thresholds).route is Route.MODEL


def test_without_a_threshold_of_its_own_no_informed_confidence_is_enough() -> None:
    assert doubt(replace(says(1.0), is_informed=True), THRESHOLDS) is Reason.LOW_CONFIDENCE


def test_retrieval_names_the_label_of_what_the_model_predicted_too() -> None:
    choice = POLICIES[Policy.CASCADE](LOW, found(0.7, ("card", 0.8)), THRESHOLDS)
    assert choice == Choice(Route.RETRIEVAL, Reason.LOW_CONFIDENCE, 0.7, "card", "where_is_my_card")


SHARES = st.floats(0, 1)
MODELS = st.none() | st.builds(
    ModelSays,
    st.sampled_from("abc"),
    SHARES,
    st.sampled_from(Standing),
    st.booleans(),
    st.dictionaries(st.sampled_from("abc"), SHARES),
    is_informed=st.booleans(),
)
RETRIEVALS = st.sampled_from([LATE, DOWN]) | st.builds(
    lambda similarities, confidence: RetrievalSays(
        tuple(zip("abc", sorted(similarities, reverse=True), strict=True)), confidence
    ),
    st.lists(st.floats(-1, 1), min_size=3, max_size=3),
    SHARES,
)


@given(st.sampled_from(Policy), MODELS, RETRIEVALS, st.builds(Thresholds, SHARES, SHARES, SHARES, SHARES, SHARES))
def test_nothing_answers_below_its_threshold(
    policy: Policy, model: ModelSays | None, retrieval: Retrieval, thresholds: Thresholds
) -> None:
    choice = POLICIES[policy](model, retrieval, thresholds)
    least = {
        Route.MODEL: thresholds.of(model) if model else 0.0,
        Route.RETRIEVAL: thresholds.evidence,
        Route.ENSEMBLE: thresholds.ensemble,
        Route.ABSTAIN: 0.0,
    }
    assert choice.confidence >= least[choice.route]
    assert (choice.document_id == "") == (choice.route is Route.ABSTAIN)


@given(st.sampled_from(Policy), MODELS, RETRIEVALS, st.builds(Thresholds, SHARES, SHARES, SHARES, SHARES, SHARES))
def test_the_model_never_answers_with_what_is_gone_or_forbidden(
    policy: Policy, model: ModelSays | None, retrieval: Retrieval, thresholds: Thresholds
) -> None:
    choice = POLICIES[policy](model, retrieval, thresholds)
    if model and model.standing in (Standing.WITHDRAWN, Standing.FORBIDDEN):
        assert choice.route is not Route.MODEL
        assert doubt(model, thresholds) is not None


def test_retrieval_must_reach_the_threshold_of_whoever_calibrated_it() -> None:
    thresholds = replace(THRESHOLDS, collection=0.3)
    by_bundle, by_collection = RetrievalSays((), 0.5), RetrievalSays((), 0.5, is_by_collection=True)
    assert (thresholds.of(by_bundle), thresholds.of(by_collection)) == (0.6, 0.3)
    assert THRESHOLDS.of(by_collection) > 1  # never, unless somebody has said what it must reach
