"""What is wrong with the data of a recipe, found before anything is trained.

*Refused*, since a measure would be of nothing: a question of a file in `never` among those that train; and, where they
are read, bytes that are not UTF-8 and parts that are too small. *Reported*, since only a person can tell: labels that
may be wrong, a text with several labels, texts that are nearly the same in two parts, intents with few questions,
questions of `never` elsewhere in the data or nearly the same. Nothing is taken out. The card has the numbers and no
text.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console

from gateway.forge import data_lines, duplicates, label_noise, texts
from gateway.forge.data import FEW, Data
from gateway.forge.duplicates import OUTLIERS, TRAINING, Pair, Placed
from gateway.forge.label_noise import Noise
from gateway.forge.recipes import Recipe
from gateway.forge.texts import Labelled

NEVER = "never "
"""Before the name of a file, as the part of its texts."""
CONFUSIONS = 5


@dataclass(frozen=True, slots=True)
class Findings:
    """What was found in a recipe's data: `sizes` by part, `few` questions by label, `contradictions` labels by text,
    `pairs` of different parts or with different labels, `leaks` pairs with a text of `never`, whose files are `never`
    with their sha256."""

    sizes: dict[str, int]
    few: dict[str, int]
    contradictions: dict[str, list[str]]
    pairs: tuple[Pair, ...]
    never: dict[str, str]
    leaks: tuple[Pair, ...]
    noise: Noise

    def problems(self) -> list[str]:
        """Why the data is refused."""
        taught = {leak.second for leak in self.leaks if leak.is_same and leak.first.part in TRAINING}
        found = Counter(one.part for one in taught)
        return [
            f"{count} questions of {part.removeprefix(NEVER)}, which [data] never names, are among those that train: "
            "what is measured on that file would be what was learnt. Take them out of the training questions; "
            "`gateway forge check` lists them"
            for part, count in found.items()
        ]

    def disagreeing(self) -> list[Pair]:
        """Pairs of nearly the same texts with other labels."""
        return [pair for pair in self.pairs if pair.disagrees]

    def answered_outliers(self) -> list[Pair]:
        """Pairs of a question that the model is to answer, and an outlier, which it is not."""
        kinds = ([part in OUTLIERS for part in pair.parts] for pair in self.pairs)
        return [pair for pair, kind in zip(self.pairs, kinds, strict=True) if sum(kind) == 1]

    def summary(self) -> dict[str, Any]:
        """Numbers and names of labels, without any text, for the manifest and the card."""
        confused = Counter((one.label, one.likely) for one in self.noise.suspects).most_common(CONFUSIONS)
        return {
            "sizes": self.sizes,
            "few": self.few,
            "contradictions": len(self.contradictions),
            "near": duplicates.across(self.pairs),
            "near_with_other_labels": len(self.disagreeing()),
            "near_outliers": len({pair.second.text for pair in self.answered_outliers()}),
            "never": self.never,
            "leaks": {"same": self._leaks(is_same=True), "near": self._leaks(is_same=False)},
            "noise": {
                "questions": self.noise.questions,
                "accuracy": self.noise.accuracy,
                "suspects": len(self.noise.suspects),
                "most": [[*labels, count] for labels, count in confused],
            },
        }

    def _leaks(self, is_same: bool) -> dict[str, int]:
        """How many texts of `never` are in each part, the same or nearly so."""
        found = {(leak.first.part, leak.second.text) for leak in self.leaks if leak.is_same == is_same}
        return dict(sorted(Counter(part for part, _ in found).items()))

    def everything(self) -> dict[str, Any]:
        """The summary with the texts, for whoever looks after the data."""
        return self.summary() | {
            "refused": self.problems(),
            "contradicting": self.contradictions,
            "pairs": [asdict(pair) for pair in self.pairs],
            "leaking": [asdict(pair) for pair in self.leaks],
            "suspects": [asdict(one) for one in self.noise.suspects],
        }


def check(recipe: Recipe, data: Data) -> Findings:
    """`data` is of `recipe`; nothing is trained. FileNotFoundError or ValueError where a file cannot be read."""
    placed = duplicates.placed(data)
    hashes, never = _never(recipe)
    pairs = duplicates.find(placed + never)
    known = [row for part in duplicates.LABELLED[:-1] for row in getattr(data, part)]
    counts = Counter(row.category for row in known)
    return Findings(
        sizes=dict(Counter(one.part for one in placed)),
        few={label: count for label, count in sorted(counts.items(), key=lambda one: one[1]) if count < FEW},
        contradictions=duplicates.contradictions(_as_it_lies(recipe)),
        pairs=tuple(pair for pair in pairs if _is_told(pair) and not _of_never(pair)),
        never=hashes,
        leaks=tuple(pair for pair in pairs if _of_never(pair) and not pair.first.part.startswith(NEVER)),
        noise=label_noise.find(known, recipe.data.seed),
    )


def passed(recipe: Recipe, data: Data, console: Console) -> dict[str, Any]:
    """The summary, said on `console`. ValueError where the data is refused, or as `check`."""
    console.print("checking the data ...")
    found = check(recipe, data)
    if problems := found.problems():
        raise ValueError(f"{recipe.source}: {'; '.join(problems)}")
    summary = found.summary()
    for line in data_lines.of(summary):
        console.print(f"- {line}", highlight=False, markup=False)
    return summary


def _as_it_lies(recipe: Recipe) -> list[Labelled]:
    """The labelled questions before any is left out."""
    found = []
    for spec in (recipe.data.questions, *recipe.data.harvest):
        found += [row for row in texts.read(*recipe.located(spec)) if row.category]
    return found


def _never(recipe: Recipe) -> tuple[dict[str, str], list[Placed]]:
    """The hashes and the questions of the files that must not be learnt from."""
    hashes, found = {}, []
    for spec in recipe.data.never:
        source, split = recipe.located(spec)
        called = recipe.portable(spec)
        hashes[called] = texts.sha256(source)
        found += [Placed(NEVER + called, row.text, row.category) for row in texts.read(source, split)]
    return hashes, found


def _is_told(pair: Pair) -> bool:
    return pair.first.part != pair.second.part or pair.disagrees


def _of_never(pair: Pair) -> bool:
    return pair.second.part.startswith(NEVER)
