"""Two bundles on the same questions: the interval is of paired differences, and what counts as forgotten."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gateway.forge import paired
from gateway.forge.evaluate import IN_SCOPE, Case
from gateway.forge.paired import Asked, Intent
from gateway.types import Answer, CertificateStatus, Policy, Reason, Route

ANSWER = Answer(
    route=Route.MODEL,
    reason=Reason.CONFIDENT,
    policy=Policy.CASCADE,
    confidence=0.9,
    model_confidence=0.9,
    retrieval_confidence=None,
    threshold=0.8,
    certificate=CertificateStatus.VALID,
    certificate_group="",
    certified_risk=0.05,
    certified_oos_share=0.1,
    knowledge_version=0,
    bundle="tiny/1",
    batch_size=1,
    timings={},
)


def asked(*intents: str) -> Asked:
    return Asked(intents, tuple(Case(f"q{n}", IN_SCOPE, one, one) for n, one in enumerate(intents)))


def answers(*labels: str) -> list[Answer]:
    """An abstention where the label is empty."""
    return [
        replace(ANSWER, label=label) if label else replace(ANSWER, route=Route.ABSTAIN, reason=Reason.OUT_OF_SCOPE)
        for label in labels
    ]


def test_both_are_counted_on_the_same_questions() -> None:
    wanted = asked("red", "red", "blue", "blue")
    found = paired.compare(wanted, answers("red", "red", "red", ""), answers("red", "blue", "blue", "blue"))
    assert (found.before.right, found.before.wrong, found.before.abstained) == (0.5, 0.25, 0.25)
    assert (found.after.right, found.after.wrong, found.after.abstained) == (0.75, 0.25, 0.0)
    assert (found.won, found.lost) == (2, 1)
    assert found.right.value == 0.25
    assert found.model.value == 0.25
    assert found.intents == (Intent("red", 2, 2, 1, 0, 1), Intent("blue", 2, 0, 2, 2, 0))


def test_what_both_have_in_common_makes_no_interval() -> None:
    """Each is right half of the time, by chance; together they never differ."""
    labels = ["red" if one else "blue" for one in np.random.default_rng(0).random(200) < 0.5]
    found = paired.compare(asked(*["red"] * 200), answers(*labels), answers(*labels))
    assert (found.right.low, found.right.value, found.right.high) == (0.0, 0.0, 0.0)


def test_the_interval_is_that_of_the_differences() -> None:
    """Of 400 questions 20 are won and 8 lost: a mean of 0.03, and a standard error of 0.0131."""
    before = answers(*["red"] * 380, *["blue"] * 20)
    after = answers(*["red"] * 372, *["blue"] * 8, *["red"] * 20)
    found = paired.compare(asked(*["red"] * 400), before, after)
    assert found.right.value == pytest.approx(0.03)
    assert found.right.low == pytest.approx(0.03 - 1.96 * 0.0131, abs=0.004)
    assert found.right.high == pytest.approx(0.03 + 1.96 * 0.0131, abs=0.004)


@pytest.mark.parametrize(("lost", "won", "chance"), [(0, 0, 1.0), (5, 0, 1 / 32), (1, 1, 0.75), (8, 2, 56 / 1024)])
def test_the_sign_test_is_exact(lost: int, won: int, chance: float) -> None:
    assert paired.sign_test(lost, won) == pytest.approx(chance)


@pytest.mark.parametrize(
    ("questions", "lost", "won", "is_forgotten"),
    [
        (40, 8, 0, True),
        (40, 7, 0, False),  # no fifth of them
        (40, 15, 7, False),  # a fifth, which may be chance
        (5, 5, 0, True),
        (4, 4, 0, False),  # too few to say so
        (40, 0, 8, False),
    ],
)
def test_an_intent_is_forgotten_by_share_and_by_test(questions: int, lost: int, won: int, is_forgotten: bool) -> None:
    assert Intent("red", questions, 30, 30 - lost + won, won, lost).is_forgotten is is_forgotten


def test_bundles_that_are_alike_forget_next_to_nothing() -> None:
    """77 intents of 40 questions, of which a tenth changes for no reason: how often any is called forgotten."""
    chance = np.random.default_rng(1)
    alarms = 0
    for _ in range(200):
        changed = chance.binomial(40, 0.1, 77)
        lost = chance.binomial(changed, 0.5)
        alarms += any(
            Intent("", 40, 0, 0, int(all_ - gone), int(gone)).is_forgotten
            for all_, gone in zip(changed, lost, strict=True)
        )
    assert alarms <= 0.05 * 200
