"""How well a score ranks questions: points and areas of its curves, for many resamples at once.

Every measure takes `score` [n], flags [n] and `weight` [..., n], and gives one number for each row of weights; see
`forge.resampling`. Questions of one score are accepted together, which is a straight line of each curve.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Scores = NDArray[np.floating]

RECALL = 0.95
"""Of in-scope questions, where the share of others among the accepted is looked at."""


def auroc(score: Scores, outside: Flags, weight: Floats) -> Floats:
    """P(a question in scope scores higher than one outside), ties counting half."""
    inside, out = _shares(score, (~outside, outside), weight)
    return _area(out, inside)


def aupr(score: Scores, outside: Flags, weight: Floats) -> Floats:
    """Average precision of finding the outsiders, lowest score first. By chance it is their share of the weight."""
    found, missed = _sums(-score, (outside, ~outside), weight)
    precision = found[..., 1:] / np.maximum(found[..., 1:] + missed[..., 1:], 1e-300)
    return np.asarray((np.diff(found) * precision).sum(axis=-1) / found[..., -1])


def fpr95(score: Scores, outside: Flags, weight: Floats) -> Floats:
    """The share of outsiders that score no lower than the RECALL of in-scope questions that score highest."""
    inside, out = _shares(score, (~outside, outside), weight)
    first = (inside >= RECALL - 1e-12).argmax(axis=-1)
    return np.asarray(np.take_along_axis(out, first[..., None], axis=-1)[..., 0])


def coverage_at_risk(score: Scores, wrong: Flags, weight: Floats, risk: float) -> Floats:
    """The largest share that can be answered, surest first, with at most `risk` of it wrong."""
    errors, accepted = _sums(score, (wrong, np.ones_like(wrong)), weight)
    within = errors <= risk * accepted + 1e-12
    return np.asarray(np.where(within, accepted, 0.0).max(axis=-1) / accepted[..., -1])


def augrc(score: Scores, wrong: Flags, weight: Floats) -> Floats:
    """Area under the generalised risk-coverage curve (Traub et al. 2024): the mean over all coverages of P(answered and
    wrong). Less is better; 0.5 where everything is wrong."""
    return _area(*generalised(score, wrong, weight))


def generalised(score: Scores, wrong: Flags, weight: Floats) -> tuple[Floats, Floats]:
    """(coverage, share of all that is answered and wrong), surest first, at the end of each score."""
    errors, accepted = _sums(score, (wrong, np.ones_like(wrong)), weight)
    return accepted / accepted[..., -1:], errors / accepted[..., -1:]


def _sums(score: Scores, parts: tuple[Flags, ...], weight: Floats) -> list[Floats]:
    """Of each part, the weight [..., scores + 1] of what scores no lower, highest first; begins with 0."""
    order = np.argsort(-score, kind="stable")
    ranked = score[order]
    ends = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), len(ranked) - 1)
    found = []
    for part in parts:
        total = np.cumsum(weight[..., order] * part[order], axis=-1)[..., ends]
        found.append(np.concatenate([np.zeros_like(total[..., :1]), total], axis=-1))
    return found


def _shares(score: Scores, parts: tuple[Flags, ...], weight: Floats) -> list[Floats]:
    return [total / total[..., -1:] for total in _sums(score, parts, weight)]


def _area(across: Floats, up: Floats) -> Floats:
    """Trapezoids under `up` over `across`."""
    return np.asarray((np.diff(across) * (up[..., 1:] + up[..., :-1])).sum(axis=-1) / 2)
