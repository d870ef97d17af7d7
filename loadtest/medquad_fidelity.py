"""How near the served search, which looks at few candidates, comes to one that scores all passages by the same formula.

It needs no labels: what differs is what the candidates missed.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from gateway.knowledge import hybrid
from gateway.knowledge.generation import Generation
from gateway.knowledge.lexical import LANGUAGE, analyzer
from gateway.knowledge.library import Library
from gateway.knowledge.vectors import VectorIndex
from gateway.types import Prediction, Principal


def measured(
    library: Library, collection: str, texts: Sequence[str], predictions: Sequence[Prediction], depth: int
) -> dict[str, float]:
    """`overlap`: the mean share of the `depth` best that are served; `first`: the share of questions whose first hit is
    the best one."""
    whole = scanned(library.generation(collection))
    overlaps, firsts = [], []
    for text, prediction in zip(texts, predictions, strict=True):
        served = library.search(collection, text, prediction, Principal(), depth, 1).hits
        found = [hit.document.id for hit in served]
        best = exhaustive(whole, text, prediction, depth)
        overlaps.append(len(set(found) & set(best)) / max(1, len(best)))
        firsts.append(found[:1] == best[:1])
    return {"overlap": round(sum(overlaps) / len(texts), 4), "first": round(sum(firsts) / len(texts), 4)}


def scanned(generation: Generation) -> Generation:
    """The same documents, without graphs: every search by meaning is a scan."""
    parts = []
    for part in generation.parts:
        index = VectorIndex.kept(part.segment.index.vectors(slice(None)), None)
        parts.append(replace(part, segment=replace(part.segment, index=index)))
    return replace(generation, parts=tuple(parts))


def exhaustive(whole: Generation, text: str, prediction: Prediction, depth: int) -> list[str]:
    """The `depth` best documents that say different things. Each leg is asked for all of them: then no candidate is
    chosen, and all are scored."""
    every, _ = whole.counts()
    ranked = hybrid.search(whole, prediction, analyzer(LANGUAGE).question(text), Principal(), every, time.time())
    first: dict[tuple[str, str], str] = {}
    for part, number, *_ in ranked:
        document = part.segment.documents[number]
        first.setdefault((document.title, document.text), document.id)
    return list(first.values())[:depth]
