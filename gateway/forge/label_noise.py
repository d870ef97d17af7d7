"""Which questions may bear the wrong label: confident learning by a plain classifier, before anything is trained.

The classifier sees words, pairs of words and runs of four letters (TF-IDF), not embeddings: before training the forge
has no encoder without torch but those of other bundles, and what was trained on these labels has learnt their errors
too. It is ridge regression onto the labels, of which leave-one-out predictions are exact and cost one solution (Allen
1974; Rifkin and Lippert 2007), so that no question's own label has a say. By its probabilities a question is suspect
where it reaches another label's usual confidence, and is more like that one (Northcutt, Jiang and Chuang 2021). Right
questions are among the suspects, and those of a kind that words do not tell apart: they are for a person to look at.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from gateway.forge.near import RUN, plain
from gateway.forge.texts import Labelled

Floats = NDArray[np.float32]
TERMS = 2048
"""The most frequent ones: the cost is the cube of their number, and twice as many bring little."""
RIDGE = 1.0
MOST = 30_000
"""Questions: of more, so many are drawn. Each costs 8 KiB."""
LEAST = 8
"""Questions of a label: with fewer nothing is said of them."""
SHARPNESS = np.geomspace(1, 64, 25)
"""Of the softmax over the scores: the likeliest of these."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """A question with its label and the one that it is more like, by `margin` of the scores, which are about 0 to 1."""

    text: str
    label: str
    likely: str
    margin: float


@dataclass(frozen=True, slots=True)
class Noise:
    """Of `questions` that were looked at, of which the classifier has `accuracy`: the suspects, clearest first."""

    questions: int
    accuracy: float
    suspects: tuple[Suspect, ...]


def find(rows: Sequence[Labelled], seed: int = 0) -> Noise:
    """`rows` are of two labels or more; `seed` draws from more than MOST."""
    counts = Counter(row.category for row in rows)
    known = [row for row in rows if counts[row.category] >= LEAST]
    if len(known) > MOST:
        known = random.Random(seed).sample(known, MOST)
    names = sorted({row.category for row in known})
    if len(names) < 2:
        return Noise(len(known), 0.0, ())
    features = _features([row.text for row in known])
    labels = np.array([names.index(row.category) for row in known])
    scores = _leave_one_out(features, np.eye(len(names), dtype=np.float32)[labels])
    likely, is_suspect = _confident(_probabilities(scores, labels), labels)
    each = np.arange(len(known))
    margin = scores[each, likely] - scores[each, labels]
    order = [int(row) for row in np.argsort(-margin, kind="stable") if is_suspect[row] and margin[row] > 0]
    suspects = (Suspect(known[row].text, known[row].category, names[likely[row]], float(margin[row])) for row in order)
    return Noise(len(known), float((scores.argmax(axis=1) == labels).mean()), tuple(suspects))


def _terms(text: str) -> Iterator[str]:
    words = plain(text).split()
    yield from words
    yield from (f"{one} {other}" for one, other in pairwise(words))
    padded = f" {' '.join(words)} "
    yield from (padded[at : at + RUN] for at in range(len(padded) - RUN + 1))


def _features(texts: Sequence[str]) -> Floats:
    """[texts, terms], rows of unit length. Terms of a single text say nothing about another one."""
    counts = [Counter(_terms(text)) for text in texts]
    spread = Counter(term for some in counts for term in some)
    kept = sorted((term for term, times in spread.items() if times > 1), key=lambda term: (-spread[term], term))[:TERMS]
    column = {term: at for at, term in enumerate(kept)}
    rarity = np.log(len(texts) / np.array([spread[term] for term in kept], np.float32))
    found = np.zeros((len(texts), len(kept)), np.float32)
    for row, some in enumerate(counts):
        at = [column[term] for term in some if term in column]
        times = np.array([count for term, count in some.items() if term in column], np.float32)
        found[row, at] = (1 + np.log(times)) * rarity[at]
    return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-9)


def _leave_one_out(features: Floats, wanted: Floats) -> Floats:
    """[texts, labels]: each row by what was fitted on all the others."""
    gram = features.T @ features
    gram[np.diag_indices_from(gram)] += RIDGE
    lever = np.linalg.solve(gram, features.T).T
    own = (lever * features).sum(axis=1, keepdims=True)
    return np.asarray((lever @ (features.T @ wanted) - own * wanted) / (1 - own), np.float32)


def _probabilities(scores: Floats, labels: NDArray[np.int64]) -> Floats:
    """A softmax, as sharp as makes the labels likeliest."""
    each = np.arange(len(labels))

    def softmax(sharpness: float) -> Floats:
        raised = np.exp(sharpness * (scores - scores.max(axis=1, keepdims=True)))
        return np.asarray(raised / raised.sum(axis=1, keepdims=True), np.float32)

    return max(map(softmax, SHARPNESS), key=lambda one: float(np.log(one[each, labels] + 1e-12).mean()))


def _confident(probabilities: Floats, labels: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """(the label of each, by the confident joint; whether that is another one than its own)."""
    usual = np.array([probabilities[labels == one, one].mean() for one in range(probabilities.shape[1])])
    reached = np.where(probabilities >= usual, probabilities, -1.0)
    likely = reached.argmax(axis=1)
    return likely, (reached.max(axis=1) > 0) & (likely != labels)
