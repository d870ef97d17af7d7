"""Texts that stand twice in the data of a recipe, by part: what measures must not be what trained.

*The same* is what `data.text_key` says, *nearly the same* what `near` does. Of questions with labels no two that are
the same are left when they are divided: see `data.load`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gateway.forge import near
from gateway.forge.data import Data, text_key
from gateway.forge.texts import Labelled

TRAINING = ("train", "outliers_train")
LABELLED = ("train", "dev", "calibrate", "certify", "unseen")
OUTLIERS = ("outliers_train", "outliers_calibrate", "outliers_certify")


@dataclass(frozen=True, slots=True)
class Placed:
    """A text in a part of the data, with its label if it has one."""

    part: str
    text: str
    label: str = ""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two texts that are the same, or nearly so."""

    first: Placed
    second: Placed
    is_same: bool

    @property
    def parts(self) -> tuple[str, str]:
        return self.first.part, self.second.part

    @property
    def disagrees(self) -> bool:
        """Both have labels, and other ones."""
        return bool(self.first.label and self.second.label and self.first.label != self.second.label)


def placed(data: Data) -> list[Placed]:
    """Everything that was divided, in the order of LABELLED and OUTLIERS."""
    found = [Placed(part, row.text, row.category) for part in LABELLED for row in getattr(data, part)]
    return found + [Placed(part, text) for part in OUTLIERS for text in getattr(data, part)]


def find(texts: Sequence[Placed]) -> list[Pair]:
    """Every pair, whatever the parts, the earlier one first."""
    return [
        Pair(texts[one], texts[other], text_key(texts[one].text) == text_key(texts[other].text))
        for one, other in near.pairs([each.text for each in texts])
    ]


def contradictions(rows: Iterable[Labelled]) -> dict[str, list[str]]:
    """Of a file as it is: the texts that stand there with several labels, and which; the first one is what is kept."""
    labels: dict[str, list[str]] = {}
    for row in rows:
        labels.setdefault(text_key(row.text), []).append(row.category)
    return {text: list(dict.fromkeys(some)) for text, some in labels.items() if len(set(some)) > 1}


def across(pairs: Iterable[Pair]) -> dict[str, dict[str, int]]:
    """{part: {other part: how many texts of the other one have one in the first}}, of different parts."""
    found = {(pair.parts, pair.second.text) for pair in pairs if pair.first.part != pair.second.part}
    counts = Counter(parts for parts, _ in found)
    said: dict[str, dict[str, int]] = {}
    for (one, other), count in sorted(counts.items()):
        said.setdefault(one, {})[other] = count
    return said
