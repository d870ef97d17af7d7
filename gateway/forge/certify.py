"""The certificate: the loosest threshold that bounds the risk among the answered, on questions used for nothing else.

For a threshold, let r be the share of accepted in-scope questions that are answered wrongly, c the share of in-scope
questions accepted, b the share of out-of-scope questions accepted. At an out-of-scope share s the risk is
R(s) = ((1-s)cr + sb) / ((1-s)c + sb), which grows with r, b and s, and falls with c. Clopper-Pearson bounds on the
three, each at a third of the error probability, bound R at all shares at once. Thresholds are tried from strict to
loose in an order fixed beforehand, each at the full level, and the first failure ends it (fixed-sequence
Learn-then-Test, Angelopoulos et al. 2021): the last that passed holds without a further correction. Where the order
begins is chosen beforehand too, on the calibration questions: the strictest thresholds accept too few to show anything,
and failing there would end it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gateway.cascade.bounds import GRID, lower, upper
from gateway.cascade.policy import NEVER

Confidence = NDArray[np.float32]
Flags = NDArray[np.bool_]

SHARES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5)
"""Out of scope, at which the bound is told beside that at the share that was asked for."""
MARGIN = 0.75
MOST_TIMES = 50
REFUSED = -1.0
"""A confidence that no threshold accepts."""


@dataclass(frozen=True, slots=True)
class Asked:
    """At most `risk` of the answered are wrong, with probability `assurance` over the certification questions, at an
    out-of-scope share of up to `oos_share`."""

    risk: float
    assurance: float
    oos_share: float

    @property
    def level(self) -> float:
        """The error probability."""
        return 1 - self.assurance

    def at(self, oos_share: float) -> Asked:
        return Asked(self.risk, self.assurance, oos_share)


@dataclass(frozen=True, slots=True)
class Counts:
    """At one threshold: of so many `questions` in scope and `outliers`, how many are accepted, and wrong. Means too."""

    questions: float
    accepted: float
    wrong: float
    outliers: float = 0
    outliers_accepted: float = 0

    def risk_bound(self, oos_share: float, level: float) -> float:
        """The upper bound of the risk at that share. Without outliers nothing is known of them: it is that in scope."""
        if oos_share == 0 or self.outliers == 0:
            return upper(self.wrong, self.accepted, level)
        return self.risk_bounds((oos_share,), level)[0]

    def risk_bounds(self, oos_shares: Sequence[float], level: float) -> tuple[float, ...]:
        """The upper bounds at those shares, which hold for all of them at once."""
        r, c, b = self._bounds(level)
        return tuple(_risk(r, (1 - share) * c, share * b) for share in oos_shares)

    def share_within(self, risk: float, level: float) -> float:
        """The out-of-scope share up to which the bound is within `risk`: 0 where nothing is known of outliers, and
        where it never is."""
        if self.outliers == 0:
            return 0.0
        r, c, b = self._bounds(level)
        odds = max(0.0, c * (risk - r)) / (b * (1 - risk))
        return odds / (1 + odds)

    def risk(self, oos_share: float) -> float:
        """The share of the answered that is wrong, as it was seen; 0 where nothing is answered."""
        accepted = (1 - oos_share) * self.accepted / self.questions
        outside = oos_share * self.outliers_accepted / self.outliers if self.outliers else 0.0
        return _risk(self.wrong / self.accepted if self.accepted else 0.0, accepted, outside)

    def _bounds(self, level: float) -> tuple[float, float, float]:
        """Of r, c and b, each at a third of `level`."""
        third = level / 3
        return (
            upper(self.wrong, self.accepted, third),
            lower(self.accepted, self.questions, third),
            upper(self.outliers_accepted, self.outliers, third),
        )


def _risk(wrong: float, accepted: float, outside: float) -> float:
    """Of what is answered: `accepted` in scope, of which the share `wrong` is, and `outside`, all of which are."""
    answered = accepted + outside
    return (accepted * wrong + outside) / answered if answered else wrong


@dataclass(frozen=True, slots=True)
class Sample:
    """Questions in scope, with the model's `confidence` and whether its answer is `right`, and the confidence that it
    has about those `outside`."""

    confidence: Confidence
    right: Flags
    outside: Confidence

    def counts(self, threshold: float) -> Counts:
        accepted = self.confidence >= threshold
        wrong = int((accepted & ~self.right).sum())
        out = int((self.outside >= threshold).sum())
        return Counts(len(self.right), int(accepted.sum()), wrong, len(self.outside), out)

    def part(self, inside: Flags, outside: Flags) -> Sample:
        """The same questions, of which only those flagged can be accepted."""
        return Sample(
            np.where(inside, self.confidence, np.float32(REFUSED)),
            self.right,
            np.where(outside, self.outside, np.float32(REFUSED)),
        )


@dataclass(frozen=True, slots=True)
class Certified:
    """A threshold with its evidence, and what it was `asked` for; it is NEVER if none could be certified.

    `upper_bound` is of the risk at the share asked for. `oos_share` is up to which share every threshold passes that
    was tried up to this one: whichever share below it is named beforehand, the promise holds for it.
    """

    threshold: float
    counts: Counts
    upper_bound: float
    oos_share: float
    asked: Asked

    @property
    def holds(self) -> bool:
        return self.threshold <= 1

    def risk_by_share(self) -> tuple[tuple[float, float], ...]:
        """(out-of-scope share, upper bound of the risk) at SHARES, for all of them at once."""
        if not self.counts.outliers:
            return ()
        return tuple(zip(SHARES, self.counts.risk_bounds(SHARES, self.asked.level), strict=True))


@dataclass(frozen=True, slots=True)
class Known:
    """What is known before anything is certified: the `sample` of *calibration* questions and outliers, and of how many
    `questions` and `outliers` the certification will be."""

    sample: Sample
    questions: int
    outliers: int

    def expected_bound(self, threshold: float, asked: Asked) -> float:
        """What the bound will be about. The same shares of accepted and wrong are expected, half a case added to each:
        none seen is not none to come."""
        seen = self.sample.counts(threshold)
        accepted = self.questions * seen.accepted / seen.questions
        wrong = accepted * (seen.wrong + 0.5) / (seen.accepted + 1)
        out = self.outliers * (seen.outliers_accepted + 0.5) / (seen.outliers + 1) if seen.outliers else 0.0
        return Counts(self.questions, accepted, wrong, self.outliers, out).risk_bound(asked.oos_share, asked.level)

    def starting_point(self, asked: Asked, grid: Sequence[float] = GRID) -> float:
        """Where the sequence should begin: the threshold of `grid` that is likeliest to pass, the strictest of equals.

        Beginning where a threshold just passes if no answer is wrong, half of simulated sequences (575 questions)
        failed at once; beginning here, 1 in 10.
        """
        return min(grid, key=lambda threshold: (self.expected_bound(threshold, asked), -threshold))

    def strict_start(self, asked: Asked, grid: Sequence[float] = GRID) -> float:
        """The strictest threshold that will likely pass: with MARGIN to spare. The starting point where none has it."""
        enough = (one for one in grid if self.expected_bound(one, asked) <= MARGIN * asked.risk)
        return next(enough, self.starting_point(asked, grid))


def certify(sample: Sample, asked: Asked, start: float, grid: Sequence[float] = GRID) -> Certified:
    """The loosest threshold of `grid` (strict to loose) whose bound is within the risk, as far as the sequence holds.

    `start` is where the sequence begins. It must not have been chosen by the questions that are given here.
    """
    return _sequence(sample, asked, start, grid)[-1]


def back_off(sample: Sample, asked: Asked, start: float, strict: float, grid: Sequence[float] = GRID) -> Certified:
    """What to go back to when the certificate is in doubt: certified at half of the risk, by a sequence of its own.

    Where half of the risk cannot be shown it is certified at the whole of it, from `strict` on: of the thresholds that
    pass, the one with the least bound. They all hold at once, so any of them may be taken.
    """
    half = certify(sample, Asked(asked.risk / 2, asked.assurance, asked.oos_share), start, grid)
    return half if half.holds else min(_sequence(sample, asked, strict, grid), key=lambda one: one.upper_bound)


def _sequence(sample: Sample, asked: Asked, start: float, grid: Sequence[float]) -> list[Certified]:
    """Nothing, and then all that pass before the first failure."""
    asked = asked if len(sample.outside) else asked.at(0.0)
    passed = [Certified(NEVER, sample.counts(NEVER), 1.0, 0.0, asked)]
    share = 1.0
    for threshold in (one for one in grid if one <= start):
        counts = sample.counts(threshold)
        found = counts.risk_bound(asked.oos_share, asked.level)
        if found > asked.risk:
            break
        share = min(share, counts.share_within(asked.risk, asked.level))
        passed.append(Certified(threshold, counts, found, share, asked))
    return passed


def needed(sample: Sample, asked: Asked, grid: Sequence[float] = GRID) -> int:
    """About how many certification questions would do, with outliers in proportion, if all shares stayed as they are.

    0 if the risk is too high at every threshold, however many there are. For whoever plans the data, not for a promise.
    """
    seen = [sample.counts(threshold) for threshold in grid]
    for times in np.geomspace(1, MOST_TIMES, 40):
        for one in seen:
            more = Counts(
                round(one.questions * times),
                one.accepted * times,
                one.wrong * times,
                round(one.outliers * times),
                one.outliers_accepted * times,
            )
            if more.risk_bound(asked.oos_share, asked.level) <= asked.risk:
                return int(np.ceil(one.questions * times / 10) * 10)
    return 0
