"""The data of a recipe, divided once: what trains, what picks, what calibrates, what certifies, what is unseen."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.forge import texts
from gateway.forge.recipes import Recipe
from gateway.forge.texts import Labelled

LEAST = 4
"""Questions in each of the parts that measure or fit: fewer fit nothing. A certificate takes far more; see certify."""
DIVIDED_FROM = 8
"""Questions of an intent: with fewer it only trains."""
HARVESTS = ("harvest", "harvest_outliers")
FEW = 20
"""Questions of an intent: fewer are reported."""


@dataclass(frozen=True, slots=True)
class Data:
    """Questions by purpose; no question stands in two of them.

    `train` fits weights, `dev` picks between students, `calibrate` fits the confidence, `certify` sets its thresholds
    and nothing else. `unseen` are questions of excluded intents: nothing is fitted on them, but how retrieval does on
    what the model does not know has a say in which student ships. `outliers` are texts that nothing answers: half to
    train, a quarter to calibrate, a quarter to certify.
    """

    labels: tuple[str, ...]
    train: tuple[Labelled, ...]
    dev: tuple[Labelled, ...]
    calibrate: tuple[Labelled, ...]
    certify: tuple[Labelled, ...]
    unseen: tuple[Labelled, ...]
    outliers_train: tuple[str, ...]
    outliers_calibrate: tuple[str, ...]
    outliers_certify: tuple[str, ...]
    hashes: dict[str, str]
    """Of the files, by the names that the recipe gives them."""
    division: dict[str, Any] = field(default_factory=dict)
    """What else decides which question is in which part; see `division`."""


def load(recipe: Recipe) -> Data:
    """Read and divide, by the recipe's seed. ValueError, with numbers, where there is too little to divide."""
    source, split = recipe.located(recipe.data.questions)
    hashes = {recipe.data.questions: texts.sha256(source)}
    rows = [row for row in _unique(texts.read(source, split)) if row.category]
    excluded = _excluded(recipe, hashes)
    known = [row for row in rows if row.category not in excluded]
    harvested = _harvested(recipe, hashes, known)
    never = _never(recipe)
    by_label = _by_label([*known, *_without(never, (row for some in harvested for row in some))])
    if len(by_label) < 2:
        raise ValueError(f"{source}: {len(by_label)} intents with labels; a classifier needs at least 2")
    if strange := {one for some in recipe.confidence.groups.values() for one in some} - by_label.keys():
        raise ValueError(f"{source}: has no question of {min(strange)!r}, which the recipe's [confidence] groups name")
    parts: dict[str, list[Labelled]] = {"train": [], "dev": [], "calibrate": [], "certify": []}
    for left_out, source_rows in ((frozenset[str](), known), *((never, some) for some in harvested)):
        for _, of_label in sorted(_by_label(source_rows).items()):
            for part, some in _divide(of_label, recipe).items():
                parts[part] += _without(left_out, some)
    _check_sizes(source, by_label, parts)
    files = [_divide_outliers(one, recipe.data.seed) for one in _all_outliers(recipe, hashes)]
    train, calibrate, certify = (
        (*files[0][part], *(text for one in files[1:] for text in one[part] if text_key(text) not in never))
        for part in range(3)
    )
    return Data(
        labels=tuple(sorted(by_label)),
        **{part: tuple(some) for part, some in parts.items()},
        unseen=_unseen(rows, excluded - by_label.keys(), harvested),
        outliers_train=train,
        outliers_calibrate=calibrate,
        outliers_certify=certify,
        hashes=hashes,
        division=division(recipe.data.model_dump(mode="json"), hashes),
    )


def division(section: Mapping[str, Any], hashes: Mapping[str, str]) -> dict[str, Any]:
    """What decides which question is in which part, of a recipe's [data] as JSON has it: shares and seed, and the files
    by their hashes, wherever they lie."""

    def of(name: str) -> str:
        return hashes.get(name, f"unknown {name}")

    if not section:
        return {}
    questions = section["questions"]
    excluded = section.get("exclude_intents", "")
    return {
        **{name: section.get(name) for name in ("dev", "calibrate", "certify", "seed")},
        "questions": [of(questions), questions.partition("#")[2]],
        "exclude_intents": of(excluded) if excluded else "",
        "outliers": [
            {name: of(value) if name == "file" else value for name, value in one.items() if name != "attribution"}
            for one in section.get("outliers", ())
        ],
        **{name: [of(one) for one in section.get(name, ())] for name in HARVESTS},
    }


def _by_label(rows: Sequence[Labelled]) -> dict[str, list[Labelled]]:
    found: dict[str, list[Labelled]] = defaultdict(list)
    for row in rows:
        found[row.category].append(row)
    return found


def _never(recipe: Recipe) -> frozenset[str]:
    """What must not be harvested: what people ask may be what a test asks. It is left out of the parts, and not before
    they are divided, so that which question is in which part does not depend on what is never to be learnt."""
    if not recipe.data.harvest and not recipe.data.harvest_outliers:
        return frozenset()
    rows = (row for spec in recipe.data.never for row in texts.read(*recipe.located(spec)))
    return frozenset(text_key(row.text) for row in rows)


def _without(left_out: AbstractSet[str], rows: Iterable[Labelled]) -> list[Labelled]:
    return [row for row in rows if text_key(row.text) not in left_out]


def _harvested(recipe: Recipe, hashes: dict[str, str], known: Sequence[Labelled]) -> list[list[Labelled]]:
    """The questions of each file of `harvest`, without those that are known already, or by a file before."""
    seen, found = {text_key(row.text) for row in known}, []
    for name in recipe.data.harvest:
        source = recipe.locate(name)
        hashes[name] = texts.sha256(source)
        rows = [row for row in _unique(texts.read(source)) if row.category and text_key(row.text) not in seen]
        seen |= {text_key(row.text) for row in rows}
        found.append(rows)
    return found


def _unseen(
    rows: Sequence[Labelled], excluded: AbstractSet[str], harvested: Sequence[Sequence[Labelled]]
) -> tuple[Labelled, ...]:
    """Of excluded intents that no harvest teaches, and no question that one does."""
    taught = {text_key(row.text) for some in harvested for row in some}
    return tuple(row for row in rows if row.category in excluded and text_key(row.text) not in taught)


def _all_outliers(recipe: Recipe, hashes: dict[str, str]) -> list[list[str]]:
    """Those that the recipe names, and those of each harvest that are in none before."""
    found = [_outliers(recipe, hashes)]
    for name in recipe.data.harvest_outliers:
        source = recipe.locate(name)
        hashes[name] = texts.sha256(source)
        seen = {text for some in found for text in some}
        found.append([row.text for row in texts.read(source) if row.text not in seen])
    return found


def _check_sizes(source: Path, by_label: dict[str, list[Labelled]], parts: dict[str, list[Labelled]]) -> None:
    small = [part for part in ("dev", "calibrate", "certify") if len(parts[part]) < LEAST]
    if small:
        total = sum(map(len, by_label.values()))
        counts = ", ".join(f"{part} {len(parts[part])} (needed: {LEAST})" for part in small)
        divided = sum(len(rows) >= DIVIDED_FROM for rows in by_label.values())
        raise ValueError(
            f"{source}: {total} questions of {len(by_label)} intents are too few to divide: {counts}. {divided} of the "
            f"intents have the {DIVIDED_FROM} questions from which on some are set aside. Add questions, or raise the "
            "shares dev, calibrate and certify in the recipe's [data]."
        )
    trained = {row.category for row in parts["train"]}
    untrained = sorted(by_label.keys() - trained)
    if untrained:
        raise ValueError(
            f"{source}: no question of {', '.join(untrained[:5])} is left to train; lower the shares in [data]"
        )


def _unique(rows: list[Labelled]) -> list[Labelled]:
    """The first of each text, so that no question stands on both sides of a division."""
    seen: dict[str, Labelled] = {}
    for row in rows:
        seen.setdefault(text_key(row.text), row)
    return list(seen.values())


def text_key(text: str) -> str:
    """The same for texts that differ in case and spaces alone: they count as one."""
    return " ".join(text.lower().split())


def _excluded(recipe: Recipe, hashes: dict[str, str]) -> set[str]:
    if not recipe.data.exclude_intents:
        return set()
    source: Path = recipe.locate(recipe.data.exclude_intents)
    hashes[recipe.data.exclude_intents] = texts.sha256(source)
    return {row.text for row in texts.read(source)}


def _divide(rows: list[Labelled], recipe: Recipe) -> dict[str, list[Labelled]]:
    """One intent's questions by purpose. An intent with fewer than DIVIDED_FROM only trains."""
    rows = rows.copy()
    random.Random(f"{recipe.data.seed}:{rows[0].category}").shuffle(rows)
    if len(rows) < DIVIDED_FROM:
        return {"train": rows}
    parts, start = {}, 0
    for part, share in (
        ("dev", recipe.data.dev),
        ("calibrate", recipe.data.calibrate),
        ("certify", recipe.data.certify),
    ):
        stop = start + max(1, round(share * len(rows)))
        parts[part], start = rows[start:stop], stop
    parts["train"] = rows[start:]
    return parts


def _outliers(recipe: Recipe, hashes: dict[str, str]) -> list[str]:
    found: list[str] = []
    for section in recipe.data.outliers:
        source = recipe.locate(section.file)
        hashes[section.file] = texts.sha256(source)
        rows = texts.read(source, section.split)[section.offset :: section.every]
        rows = [row for row in rows if row.category not in section.exclude]
        rows = [row for row in rows if not section.only or row.category in section.only]
        random.Random(recipe.data.seed).shuffle(rows)
        found += [row.text for row in rows[: section.limit]]
    return found


def _divide_outliers(outliers: list[str], seed: int) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Half to train, a quarter to calibrate, a quarter to certify."""
    outliers = sorted(set(outliers))
    random.Random(seed).shuffle(outliers)
    half, rest = len(outliers) // 2, len(outliers) * 3 // 4
    return tuple(outliers[:half]), tuple(outliers[half:rest]), tuple(outliers[rest:])
