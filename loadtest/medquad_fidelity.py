"""How near the served search, which looks at few candidates, comes to one that scores all passages by the same formula.

It needs no labels: what differs is what the candidates missed. Each bound of the candidates is widened alone, too: what
that finds and what it costs tells which is too narrow.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from gateway.knowledge import hybrid
from gateway.knowledge.generation import Generation
from gateway.knowledge.lexical import LANGUAGE, analyzer
from gateway.knowledge.library import SPARE, distinct
from gateway.knowledge.vectors import VectorIndex
from gateway.types import Prediction, Principal

BOUNDS = ("dense", "each", "lexical")
BREADTHS = {
    "served": hybrid.SERVED,
    **{
        f"{name} {times} x": replace(hybrid.SERVED, **{name: times * getattr(hybrid.SERVED, name)})
        for name in BOUNDS
        for times in (2, 4)
    },
    "all 2 x": replace(hybrid.SERVED, **{name: 2 * getattr(hybrid.SERVED, name) for name in BOUNDS}),
}


def measured(
    generation: Generation, texts: Sequence[str], predictions: Sequence[Prediction], depth: int
) -> dict[str, dict[str, float]]:
    """Of each of BREADTHS: `overlap`, the mean share of the `depth` best that it finds, `first`, the share of questions
    whose first hit is the best one, and `time`, what it takes to the served one: the median of the ratios of a
    question, for which they take turns in being the first."""
    whole = scanned(generation)
    best = [exhaustive(whole, text, prediction, depth) for text, prediction in zip(texts, predictions, strict=True)]
    names = list(BREADTHS)
    overlap, first, seconds = (np.zeros((len(texts), len(names))) for _ in range(3))
    for at, (text, prediction) in enumerate(zip(texts, predictions, strict=True)):
        for turn in range(len(names)):
            which = (at + turn) % len(names)
            started = time.perf_counter()
            found = found_by(generation, text, prediction, depth + SPARE, BREADTHS[names[which]])[:depth]
            seconds[at, which] = time.perf_counter() - started
            overlap[at, which] = len(set(found) & set(best[at])) / max(1, len(best[at]))
            first[at, which] = found[:1] == best[at][:1]
    ratios = np.median(seconds / seconds[:, names.index("served"), None], axis=0)
    columns = {"overlap": overlap.mean(axis=0).round(4), "first": first.mean(axis=0).round(4), "time": ratios.round(2)}
    return {name: {what: float(one[at]) for what, one in columns.items()} for at, name in enumerate(names)}


def scanned(generation: Generation) -> Generation:
    """The same documents, without graphs: every search by meaning is a scan."""
    parts = []
    for part in generation.parts:
        index = VectorIndex.kept(part.segment.index.vectors(slice(None)), None)
        parts.append(replace(part, segment=replace(part.segment, index=index)))
    return replace(generation, parts=tuple(parts))


def exhaustive(whole: Generation, text: str, prediction: Prediction, depth: int) -> list[str]:
    """The `depth` best documents. Each leg is asked for all of them, so no candidate is chosen, and all are scored."""
    every, _ = whole.counts()
    return found_by(whole, text, prediction, every, hybrid.SERVED)[:depth]


def found_by(
    generation: Generation, text: str, prediction: Prediction, most: int, breadth: hybrid.Breadth
) -> list[str]:
    """Of the best `most` those that say different things, as a search shows them."""
    terms = analyzer(LANGUAGE).question(text)
    ranked = hybrid.search(generation, prediction, terms, Principal(), most, time.time(), breadth=breadth)
    return [part.segment.documents[number].id for part, number, *_ in distinct(ranked)]
