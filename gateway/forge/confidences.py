"""Which confidence tells best what the model may answer: the scores of `forge.scores`, what the gateway serves by, and
what fitting could reach at most, on questions that nothing of them was fitted on.

Cross-fitted: the questions are divided into folds, a near unseen intent lying in one fold as a whole, and each question
is scored by what was fitted without its fold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gateway.cascade.calibration import KNOWLEDGE_FEATURES, MODEL_FEATURES, Logistic
from gateway.forge import calibrate, inform, ranking, scores
from gateway.forge.calibrate import Outputs, logistic, shares
from gateway.forge.evaluate import IN_SCOPE, RISK
from gateway.forge.inform import Scene
from gateway.forge.ranking import Flags, Floats, Scores
from gateway.forge.resampling import Estimate, estimate, weights
from gateway.forge.scores import Trained
from gateway.types import Matrix

NEAR = "near"
"""Questions of intents that the model must not know."""
OUTLIERS = "outliers"
"""The recipe's texts that nothing answers, those for calibration."""
FOLDS = 5
NEAR_SHARE = 0.35
"""Of the questions about the subject, so many are near ones, as in the test split of BANKING77-OOS: 1,080 of 3,080."""

NAMES = (*scores.WORDS, *scores.DISTANCES[:-1])
"""The plain scores. A gap between labels says nothing of what no label is for."""
SERVED = [scores.WORDS.index("largest probability"), -2, -1]
"""Of all columns: MODEL_FEATURES, which the served confidence looks at."""

Measure = Callable[[Scores, Flags, Floats], Floats]

ALONE, INFORMED = "served: alone", "served: with a search"
COMBINATION = "logistic combination"
CEILING, INFORMED_CEILING = "ceiling: alone", "ceiling: with a search"


@dataclass(frozen=True, slots=True)
class Asked:
    """Questions of all groups, laid end to end: `outputs` with label -1 out of scope, `group` [n] and `fold` [n]."""

    outputs: Outputs
    group: NDArray[np.str_]
    fold: NDArray[np.int64]

    @staticmethod
    def of(groups: Mapping[str, Outputs], together: Mapping[str, Sequence[str]], seed: int) -> Asked:
        """`together` names what must stay in one fold, for each question of a group."""
        chance = np.random.default_rng(seed)
        folds = []
        for name, some in groups.items():
            units, unit = np.unique(together.get(name, range(len(some.labels))), return_inverse=True)
            folds.append((chance.permutation(len(units)) % FOLDS)[unit])
        return Asked(
            Outputs(
                np.concatenate([one.logits for one in groups.values()]),
                np.concatenate([one.embedding for one in groups.values()]),
                np.concatenate([one.labels for one in groups.values()]),
            ),
            np.concatenate([np.full(len(one.labels), name) for name, one in groups.items()]),
            np.concatenate(folds),
        )

    def rows(self, chosen: Flags) -> Outputs:
        return Outputs(self.outputs.logits[chosen], self.outputs.embedding[chosen], self.outputs.labels[chosen])


@dataclass(frozen=True, slots=True)
class Scenery:
    """What is known of the documents: those of when the model was trained, and those of today, to be searched."""

    before: Scene
    today: Scene

    def at(self, heat: float) -> Scenery:
        return Scenery(replace(self.before, heat=heat), replace(self.today, heat=heat))


def compare(asked: Asked, trained: Trained, scenery: Scenery | None, oos_share: float, seed: int) -> dict[str, Matrix]:
    """{score: [n]} for every score, cross-fitted."""
    bench = _Bench.of(asked, trained, scenery, oos_share, seed)
    found: dict[str, Matrix] = {}
    for fold in range(FOLDS):
        for name, values in bench.fold(fold).items():
            found.setdefault(name, np.empty(len(asked.fold), np.float32))[asked.fold == fold] = values
    return found


@dataclass(frozen=True, slots=True)
class _Bench:
    """What is the same in every fold: how far each question lies from what was trained on, and how far it would if its
    own label did not exist, which is asked of questions in scope alone; and KNOWLEDGE_FEATURES where `scenery` is."""

    asked: Asked
    trained: Trained
    scenery: Scenery | None
    oos_share: float
    seed: int
    distances: Matrix
    masked: Matrix
    sought: Matrix

    @staticmethod
    def of(asked: Asked, trained: Trained, scenery: Scenery | None, oos_share: float, seed: int) -> _Bench:
        inside = asked.group == IN_SCOPE
        masked = np.zeros((len(inside), len(scores.DISTANCES)), np.float32)
        masked[inside] = scores.masked_distances(trained, asked.rows(inside))
        distances = scores.distances(trained, asked.outputs.logits, asked.outputs.embedding)
        sought = _sought(scenery.today, asked.outputs) if scenery else np.empty((len(inside), 0), np.float32)
        return _Bench(asked, trained, scenery, oos_share, seed, distances, masked, sought)

    def fold(self, number: int) -> dict[str, Matrix]:
        """{score: [held out]}, by what is fitted on the others."""
        asked, held_out = self.asked, self.asked.fold == number
        groups = {name: ~held_out & (asked.group == name) for name in (IN_SCOPE, NEAR, OUTLIERS)}
        inside, outside, wanted = asked.rows(groups[IN_SCOPE]), asked.rows(groups[OUTLIERS]), asked.rows(held_out)
        heat = calibrate.temperature(inside)
        raw = np.hstack([scores.words(asked.outputs.logits, heat), self.distances])
        own = raw[groups[IN_SCOPE]]
        masked = np.hstack([scores.words(scores.struck(inside), heat), self.masked[groups[IN_SCOPE]]])
        far = raw[groups[OUTLIERS]]

        found = {name: raw[held_out, at] for at, name in enumerate(NAMES)}
        found[COMBINATION] = _against(own, inside.right, masked, far, self.oos_share)(raw[held_out])
        alone = calibrate.confidence(own[:, SERVED], inside.right, masked[:, SERVED], far[:, SERVED], self.oos_share)
        found[ALONE] = alone(raw[held_out][:, SERVED])
        found[CEILING] = _against(own, inside.right, raw[groups[NEAR]], far, self.oos_share)(raw[held_out])
        if self.scenery is None:
            return found
        scenery = self.scenery.at(heat)
        informed = inform.fit(scenery.before, inside, outside, alone, self.oos_share, self.seed)
        if informed is None:
            return found
        found[INFORMED] = inform.confidences(scenery.today, informed, wanted, found[ALONE])
        both = np.hstack([raw, self.sought])
        mine, near, far = (both[groups[name]] for name in (IN_SCOPE, NEAR, OUTLIERS))
        found[INFORMED_CEILING] = _against(mine, inside.right, near, far, self.oos_share)(both[held_out])
        return found


def _against(inside: Matrix, right: Flags, near: Matrix, far: Matrix, oos_share: float) -> Logistic:
    """P(right and in scope) by one regression on all that is given. Of what is not far, NEAR_SHARE is near."""
    target = np.concatenate([right, np.zeros(len(near) + len(far), bool)])
    about = 1 - oos_share if len(far) else 1.0
    weight = shares((len(inside), len(near), len(far)), (about * (1 - NEAR_SHARE), about * NEAR_SHARE, oos_share))
    return logistic(np.concatenate([inside, near, far]), target, weight)


def _sought(scene: Scene, outputs: Outputs) -> Matrix:
    """KNOWLEDGE_FEATURES [n, 2] as the cascade sees them, zeros where the best label stands for no document."""
    nothing = (0.0,) * len(KNOWLEDGE_FEATURES)
    rows = [one.features[len(MODEL_FEATURES) :] if one else nothing for one in inform.see(scene, outputs)]
    return np.array(rows, np.float32).reshape(-1, len(KNOWLEDGE_FEATURES))


@dataclass(frozen=True, slots=True)
class Row:
    """One score: {group: measure} against each group out of scope, and how much may be answered at RISK, of in-scope
    questions alone and beside NEAR_SHARE near ones. `lead` is its AUROC against near ones minus the served one's."""

    auroc: dict[str, Estimate]
    aupr: dict[str, Estimate]
    fpr95: dict[str, Estimate]
    coverage: Estimate
    coverage_with_near: Estimate
    lead: Estimate


def measure(asked: Asked, found: Mapping[str, Matrix], draws: int, seed: int) -> dict[str, Row]:
    """Every score on the same resamples. AUPR: of finding outsiders where they are NEAR_SHARE of the questions."""
    inside = asked.group == IN_SCOPE
    rows = {name: inside | (asked.group == name) for name in dict.fromkeys(asked.group.tolist()) if name != IN_SCOPE}
    weight = {
        name: weights(asked.group[some], {IN_SCOPE: 1 - NEAR_SHARE, name: NEAR_SHARE}, draws, seed)
        for name, some in rows.items()
    }
    right, alone = asked.outputs.right, weights(asked.group[inside], {IN_SCOPE: 1.0}, draws, seed)

    def each(ranks: Measure, score: Matrix) -> dict[str, Floats]:
        return {name: ranks(score[some], ~inside[some], weight[name]) for name, some in rows.items()}

    areas = {name: each(ranking.auroc, score) for name, score in found.items()}
    reference = areas[INFORMED if INFORMED in found else ALONE][NEAR]
    near = rows[NEAR]
    return {
        name: Row(
            auroc=_estimates(areas[name]),
            aupr=_estimates(each(ranking.aupr, score)),
            fpr95=_estimates(each(ranking.fpr95, score)),
            coverage=estimate(ranking.coverage_at_risk(score[inside], ~right[inside], alone, RISK)),
            coverage_with_near=estimate(
                ranking.coverage_at_risk(score[near], ~(right & inside)[near], weight[NEAR], RISK)
            ),
            lead=estimate(areas[name][NEAR] - reference),
        )
        for name, score in found.items()
    }


def _estimates(values: Mapping[str, Floats]) -> dict[str, Estimate]:
    return {name: estimate(one) for name, one in values.items()}
