"""Fitting a collection's own confidence on questions about it, and measuring it on folds that had no part in it.

Offline, and with numpy alone: whoever stores a collection fits this, with what serves installed and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gateway.cascade.calibration import Logistic
from gateway.cascade.confidence import FEATURES_VERSION, features
from gateway.cascade.measures import auroc, expected_calibration_error
from gateway.cascade.policy import NEVER
from gateway.types import Matrix, SearchConfidence

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

LEAST_QUESTIONS = 30
LEAST_OF_A_KIND = 5
"""Right first hits, and wrong ones: one for each fold."""
LEAST_ANSWERS = 10
"""At or above a threshold, for its precision to be one."""
FOLDS = 5
RIDGE = 1.0
"""On the slopes, against the sum of the log losses: a few dozen questions must not be believed to the letter."""
STEPS = 50
TOLERANCE = 1e-9
BINS = 5


@dataclass(frozen=True, slots=True)
class Tried:
    """A question that was searched: its hits' (score, similarity), best first, and whether the first one answers it.
    `is_in_here`: some document does."""

    found: tuple[tuple[float, float], ...]
    is_right: bool
    is_in_here: bool


@dataclass(frozen=True, slots=True)
class Bin:
    """`questions` of about the same confidence, `low` to `high`: its `mean`, and the share of them that is `right`."""

    low: float
    high: float
    mean: float
    right: float
    questions: int


@dataclass(frozen=True, slots=True)
class Report:
    """What held-out folds say of it. `coverage` is the share of all questions that are answered from the threshold on,
    `reached` the share of those that is right; `strays` of how many that nothing in here answers, how many are answered
    all the same. Zeros where the threshold is never reached."""

    questions: int
    in_here: int
    right: int
    auroc: float
    ece: float
    coverage: float
    reached: float
    strays: int
    bins: tuple[Bin, ...]


class TooLittle(ValueError):
    """The questions do not tell enough."""


def fit(tried: Sequence[Tried], precision: float, scored_by: str) -> tuple[SearchConfidence, Report]:
    """The confidence, and how good it is. Its threshold is the lowest confidence at which `precision` is reached on
    held-out folds. Raises TooLittle, saying what is missing."""
    right = np.array([one.is_right for one in tried], bool)
    has_hits = np.array([bool(one.found) for one in tried], bool)
    _check(right, has_hits)
    rows = np.array([features(one.found) for one in tried if one.found], np.float64)
    sure = np.zeros(len(tried))  # of what nothing is found for, as it is served
    sure[has_hits] = held_out(rows, right[has_hits])
    threshold = lowest(sure, right, precision)
    fitted = logistic(rows, right[has_hits])
    confidence = SearchConfidence(
        weights=fitted.weights,
        bias=fitted.bias,
        centre=fitted.centre,
        scale=fitted.scale,
        threshold=threshold,
        precision=precision,
        questions=len(tried),
        features_version=FEATURES_VERSION,
        scored_by=scored_by,
    )
    answered = sure >= threshold
    in_here = np.array([one.is_in_here for one in tried], bool)
    return confidence, Report(
        questions=len(tried),
        in_here=int(in_here.sum()),
        right=int(right.sum()),
        auroc=auroc(_single(sure[right]), _single(sure[~right])),
        ece=expected_calibration_error(_single(sure), right, min(2 * BINS, len(tried) // LEAST_ANSWERS)),
        coverage=float(answered.mean()),
        reached=float(right[answered].mean()) if answered.any() else 0.0,
        strays=int((answered & ~in_here).sum()),
        bins=bins(sure, right),
    )


def _check(right: Flags, has_hits: Flags) -> None:
    if len(right) < LEAST_QUESTIONS:
        raise TooLittle(f"{len(right)} questions are too few: it takes {LEAST_QUESTIONS}, and 150 tell far more")
    good, bad = int(right.sum()), int((~right & has_hits).sum())
    if good < LEAST_OF_A_KIND:
        raise TooLittle(
            f"the first hit is right for {good or 'none'} of {len(right)} questions, and it takes {LEAST_OF_A_KIND}: "
            "do the document_ids name what answers them?"
        )
    if bad < LEAST_OF_A_KIND:
        raise TooLittle(
            f"the first hit is wrong for {bad or 'none'} of {len(right)} questions, and it takes {LEAST_OF_A_KIND} to "
            "tell what that looks like: add questions that nothing in the collection answers, with an empty document_id"
        )


def logistic(rows: Floats, target: Flags) -> Logistic:
    """Logistic regression on standardised features, by Newton's steps, each halved until it makes things better."""
    centre, scale = rows.mean(axis=0), rows.std(axis=0) + 1e-6
    standard = np.column_stack([(rows - centre) / scale, np.ones(len(rows))])
    sign = np.where(target, 1.0, -1.0)
    ridge = np.full(standard.shape[1], RIDGE)
    ridge[-1] = 0.0  # the bias says how many are right

    def loss(at: Floats) -> float:
        return float(np.logaddexp(0, -sign * (standard @ at)).sum() + (ridge * at**2).sum() / 2)

    now = np.zeros(standard.shape[1])
    for _ in range(STEPS):
        probability = 0.5 + 0.5 * np.tanh(0.5 * (standard @ now))
        slope = standard.T @ (probability - target) + ridge * now
        weight = np.maximum(probability * (1 - probability), 1e-12)
        step = np.linalg.solve((standard * weight[:, None]).T @ standard + np.diag(ridge), slope)
        before = loss(now)
        while loss(now - step) > before and np.abs(step).max() > TOLERANCE:
            step /= 2
        now = now - step
        if np.abs(step).max() < TOLERANCE:
            break
    *weights, bias = now.tolist()
    return Logistic(tuple(weights), bias, tuple(centre.tolist()), tuple(scale.tolist()))


def held_out(rows: Floats, right: Flags) -> Floats:
    """The confidence of each question by the other folds' questions. Folds have their part of right ones each."""
    fold = np.empty(len(right), np.int64)
    order = np.random.default_rng(0).permutation(len(right))
    order = order[np.argsort(right[order], kind="stable")]
    fold[order] = np.arange(len(right)) % FOLDS
    sure = np.empty(len(right))
    for one in range(FOLDS):
        fitted = logistic(rows[fold != one], right[fold != one])
        sure[fold == one] = [fitted.of(row) for row in rows[fold == one].tolist()]
    return sure


def lowest(sure: Floats, right: Flags, precision: float) -> float:
    """The lowest confidence from which on so many are right, of LEAST_ANSWERS at least; NEVER if there is none."""
    order = np.argsort(-sure, kind="stable")
    ranked = sure[order]
    counts = np.arange(1, len(order) + 1)
    is_end = np.append(ranked[1:] < ranked[:-1], True)  # questions of one confidence are answered together
    reached = np.cumsum(right[order]) / counts
    ends = np.flatnonzero(is_end & (reached >= precision) & (counts >= LEAST_ANSWERS) & (ranked > 0))
    return float(ranked[ends[-1]]) if len(ends) else NEVER


def bins(sure: Floats, right: Flags) -> tuple[Bin, ...]:
    """Of about as many questions each, the least sure first."""
    parts = np.array_split(np.argsort(sure, kind="stable"), BINS)
    return tuple(
        Bin(
            float(sure[part].min()),
            float(sure[part].max()),
            float(sure[part].mean()),
            float(right[part].mean()),
            len(part),
        )
        for part in parts
    )


def _single(values: Floats) -> Matrix:
    return np.asarray(values, np.float32)
