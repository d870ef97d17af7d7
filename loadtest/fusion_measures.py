"""What each way to order the documents of a search is worth, beside the served one, on labelled questions."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.knowledge.generation import Generation
from gateway.types import Matrix, Prediction, Vector
from loadtest import rerankers
from loadtest.fusion import FUSIONS, Legs, best, legs
from loadtest.medquad_data import Asked
from loadtest.rerankers import Reranker

DEPTH, RERANKED = 10, 20
"""Documents that are looked at, and that are put into another order."""
RESAMPLES, SEED = 10_000, 7
Ranks = NDArray[np.int64]
"""[questions]: of the first right document, from 1; 0 where it is not among the first DEPTH."""
Embed = Callable[[Sequence[str]], Matrix]
SERVED = "served"
MEASURES: Mapping[str, Callable[[Ranks], NDArray[np.float64]]] = {
    "first": lambda ranks: (ranks == 1).astype(float),
    "among_3": lambda ranks: ((ranks > 0) & (ranks <= 3)).astype(float),
    "mrr": lambda ranks: np.where(ranks > 0, 1 / np.maximum(ranks, 1), 0.0),
}


@dataclass(frozen=True, slots=True)
class Tried:
    """One way: the ranks that it gave, and the seconds that it took beyond those of the served one."""

    ranks: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


def measured(
    whole: Generation, asked: Sequence[Asked], predictions: Sequence[Prediction], embed: Embed
) -> dict[str, dict[str, Any]]:
    """Way -> `compared` of it, and `ms`, what a question takes longer by it at the median; None for a fusion, which
    takes nothing."""
    tried: dict[str, Tried] = {}
    for one, prediction in zip(asked, predictions, strict=True):
        found = legs(whole, one.text, prediction)
        for name, order, seconds in _orders(whole, found, one.text, prediction, embed):
            way = tried.setdefault(name, Tried())
            way.ranks.append(_rank(found, order, one.right))
            way.seconds.append(seconds)
    served = np.array(tried[SERVED].ranks)
    return {
        name: compared(np.array(way.ranks), served)
        | {"ms": round(1e3 * float(np.median(way.seconds)), 2) if any(way.seconds) else None}
        for name, way in tried.items()
    }


Order = tuple[str, Sequence[int], float]
"""A way, the documents in its order, and the seconds that it took."""


def _orders(whole: Generation, found: Legs, text: str, prediction: Prediction, embed: Embed) -> Iterator[Order]:
    yield SERVED, best(found, found.served, DEPTH), 0.0
    for name, fusion in FUSIONS.items():
        yield name, best(found, fusion(found), DEPTH), 0.0
    started = time.perf_counter()
    apart = embed(rerankers.sentences_of(text) or [text])
    seconds = time.perf_counter() - started
    yield "the question's sentences, too", best(found, found.served + _moved(whole, found, text, apart), DEPTH), seconds
    top = best(found, found.served, RERANKED)
    documents = [found.documents[at] for at in top]
    for name, reranker in _rerankers(embed).items():
        started = time.perf_counter()
        added = reranker(text, prediction, documents)
        seconds = time.perf_counter() - started
        yield name, [top[at] for at in np.argsort(-(found.served[top] + added), kind="stable")], seconds


def _rerankers(embed: Embed) -> dict[str, Reranker]:
    near = {f"words near each other, + {weight:g}": rerankers.proximity(weight) for weight in (0.1, 0.3)}
    return near | {f"nearest sentence, + {weight:g}": rerankers.sentences(weight, embed) for weight in (0.1, 0.3)}


def _moved(whole: Generation, found: Legs, text: str, apart: Matrix) -> Vector:
    """[documents]: by how much they are nearer if the question counts half, and its sentences' mean half."""
    each = [legs(whole, text, Prediction.alone(np.zeros(1, np.float32), one)).near for one in apart]
    return np.asarray((np.mean(each, axis=0) - found.near) / 2, np.float32)


def _rank(found: Legs, order: Sequence[int], right: frozenset[str]) -> int:
    return next((at for at, number in enumerate(order[:DEPTH], 1) if found.documents[number].id in right), 0)


def compared(ranks: Ranks, served: Ranks) -> dict[str, float]:
    """Each of MEASURES, by how much it is more than the served one's, and the 95 % interval of that: a bootstrap of
    pairs, by questions."""
    drawn = np.random.default_rng(SEED).integers(0, len(ranks), (RESAMPLES, len(ranks)))
    found: dict[str, float] = {}
    for name, measure in MEASURES.items():
        more = measure(ranks) - measure(served)
        low, high = np.quantile(more[drawn].mean(axis=1), (0.025, 0.975)).tolist()
        found |= {name: float(measure(ranks).mean()), f"{name}_more": float(more.mean())}
        found |= {f"{name}_low": low, f"{name}_high": high}
    return {name: round(value, 4) for name, value in found.items()}
