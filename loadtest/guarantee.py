"""Whether a certificate keeps its promise: given again and again on other questions, and held against the truth.

The questions are those that a bundle keeps outcomes of, and no others: development, calibration and certification
together, never a test split. Their confidences are fixed, so that any division of them is as good as the one that was
shipped. Two ways to give a certificate:

RE-SPLIT: a third says where to begin, a third certifies, and the truth is what happens on the last third. That third
is a sample too, and its chance counts against the certificate.

DRAWN: certification questions are drawn with replacement, and the truth is the risk among all. That is the promise's
own wording, with nothing left to chance but the draw.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gateway.cascade.bounds import GRID, lower
from gateway.forge.certify import Asked, Certified, Confidence, Counts, Known, Sample, certify
from gateway.forge.outcomes import Outcomes, Part

Chance = np.random.Generator
Rows = NDArray[np.int64]

NON_TEST = (Part.DEV, Part.CALIBRATE, Part.CERTIFY)
LEVEL = 0.01
"""How unlikely more broken promises than delta allows must be, if delta were true, to be called a fault."""
LEAST_CERTIFIED = 0.5
"""Of the tries; with fewer there is nothing to keep."""


@dataclass(frozen=True, slots=True)
class Population:
    """All there is: questions in scope and outliers, and the confidence about `unseen` intents, which no certificate
    speaks of."""

    sample: Sample
    unseen: Confidence

    @classmethod
    def of(cls, outcomes: Outcomes, confidence: str) -> Population:
        return cls(outcomes.sample(confidence, *NON_TEST), outcomes.outside(Part.UNSEEN)[confidence])

    def take(self, inside: Rows, outside: Rows) -> Sample:
        return Sample(self.sample.confidence[inside], self.sample.right[inside], self.sample.outside[outside])


@dataclass(frozen=True, slots=True)
class Trial:
    """What says where to begin, what certifies, and what is true."""

    known: Sample
    certification: Sample
    truth: Sample


def resplit(population: Population, chance: Chance) -> Trial:
    inside, outside = (
        np.array_split(chance.permutation(len(some)), 3)
        for some in (population.sample.right, population.sample.outside)
    )
    return Trial(*(population.take(*rows) for rows in zip(inside, outside, strict=True)))


def drawn(population: Population, chance: Chance) -> Trial:
    known = resplit(population, chance).known
    inside, outside = (
        chance.integers(len(some), size=len(some) // 3) for some in (population.sample.right, population.sample.outside)
    )
    return Trial(known, population.take(inside, outside), population.sample)


WAYS: dict[str, Callable[[Population, Chance], Trial]] = {"re-split": resplit, "drawn": drawn}


@dataclass(frozen=True, slots=True)
class Case:
    """A share of questions that is out of scope: outliers of the certified kind, or `unseen` intents. None: the share
    up to which the certificate at hand holds. `is_promised`: the risk is to stay within alpha; else it is a breach that
    is made to be seen. `unbounded`: with the threshold that the certification questions alone would suggest."""

    name: str
    share: float | None
    is_promised: bool
    unseen: bool = False
    unbounded: bool = False


def cases(asked: Asked) -> tuple[Case, ...]:
    return (
        Case("nothing out of scope", 0.0, True),
        Case("outliers as asked for", asked.oos_share, True),
        Case("outliers as certified", None, True),
        Case("outliers far beyond", 0.98, False),
        Case("some of unseen intents", 0.1, False, unseen=True),
        Case("many of unseen intents", 0.3, False, unseen=True),
        Case("without a bound", asked.oos_share, False, unbounded=True),
    )


@dataclass(slots=True)
class Tally:
    """Of `tries`: how many gave a certificate, what it answered and up to which share it held, and by case how many
    promises were broken."""

    tries: int = 0
    certified: int = 0
    coverage: list[float] = field(default_factory=list)
    oos_share: list[float] = field(default_factory=list)
    broken: Counter[str] = field(default_factory=Counter)


def tally(population: Population, way: str, asked: Asked, tries: int, seed: int) -> Tally:
    """By one seed, whatever way it is."""
    chance, found = np.random.default_rng(seed), Tally()
    for _ in range(tries):
        _count(WAYS[way](population, chance), population, asked, found)
    return found


def _count(trial: Trial, population: Population, asked: Asked, found: Tally) -> None:
    sample = trial.certification
    known = Known(trial.known, len(sample.right), len(sample.outside))
    given = certify(sample, asked, known.starting_point(asked))
    found.tries += 1
    if given.holds:
        found.certified += 1
        found.coverage.append(given.counts.accepted / given.counts.questions)
        found.oos_share.append(given.oos_share)
    for case in cases(asked):
        threshold = unbounded(sample, asked) if case.unbounded else given.threshold
        if threshold <= 1:
            found.broken[case.name] += _risk(trial.truth, population, threshold, case, given) > asked.risk


def _risk(truth: Sample, population: Population, threshold: float, case: Case, given: Certified) -> float:
    counts = truth.counts(threshold)
    share = given.oos_share if case.share is None else case.share
    if case.unseen:
        accepted = int((population.unseen >= threshold).sum())
        counts = Counts(counts.questions, counts.accepted, counts.wrong, len(population.unseen), accepted)
    return counts.risk(share)


def unbounded(sample: Sample, asked: Asked) -> float:
    """The loosest threshold at which the risk that is seen is within alpha: what a certificate is not. 2 for none."""
    seen = (one for one in reversed(GRID) if sample.counts(one).risk(asked.oos_share) <= asked.risk)
    return next(seen, 2.0)


def faults(found: Tally, what: str, asked: Asked) -> list[str]:
    """Promises that were broken more often than delta explains; and where no breach was seen at all, that these tries
    would not tell."""
    if found.certified < LEAST_CERTIFIED * found.tries:
        return [f"{what}: certified in {found.certified} of {found.tries} tries, too few to tell"]

    def is_seen(case: Case) -> bool:
        return lower(found.broken[case.name], found.tries, LEVEL) > asked.level

    said = [
        f"{what}, {case.name}: broken in {found.broken[case.name]} of {found.tries}, more than delta explains"
        for case in cases(asked)
        if case.is_promised and is_seen(case)
    ]
    if not any(is_seen(case) for case in cases(asked) if not case.is_promised):
        said.append(f"{what}: no breach was seen, not even with drift and without a bound: these tries would not tell")
    return said
