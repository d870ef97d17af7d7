"""`gateway forge run --parent`: a bundle with more labels, out of the one that is there; minutes, and no torch.

The encoder stays as it is, so that retrieval finds what it found, and nothing that it told apart is lost. Only the
last layer of the answer head is fitted, on the parent's own questions and those of the harvest, and then everything
that is fitted on a graph's outputs: confidences, thresholds, the certificate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

from gateway.forge import bundle as bundling
from gateway.forge import data, data_checks, folders, graph, incremental, knowledge, lineage, parent
from gateway.forge.bundle import Trained
from gateway.forge.data import Data
from gateway.forge.head import Head
from gateway.forge.incremental import Lessons, hidden
from gateway.forge.parent import Parent
from gateway.forge.recipes import ExtendSection, Recipe
from gateway.model import bundle as bundles
from gateway.model.bundle import TOKENIZER, Bundle
from gateway.types import Matrix


def run(recipe: Recipe, work: Path, out: Path, console: Console) -> Path:
    """Make the bundle in `out`; `work` keeps its reference graph. Returns `out`.

    Raises FileNotFoundError or ValueError for the recipe's data and for the folders, BundleInvalid for the parent.
    """
    assert recipe.extend
    folders.check_out(out)
    with folders.locked(work):
        seen = data.load(recipe)
        before = bundles.load(recipe.locate(recipe.bundle.parent))
        if out.resolve() == before.folder.resolve():
            raise ValueError(f"{out} is the parent itself; name another folder or version")
        check_follows(before, recipe, seen)
        _say_sizes(before, seen, console)
        checked = data_checks.passed(recipe, seen, console)
        read, pooled = parent.read(before), parent.pooled(before)
        console.print("fitting the last layer ...")
        head = _head(read, seen, recipe.extend, lambda texts: hidden(read.weights, pooled(texts)))
        trained = Trained(
            shape=read.shape,
            weights=graph.merge(read.weights | _layer(head), read.shape.num_hidden_layers),
            tokenizer=before.path(TOKENIZER),
            logits=lambda texts: head(hidden(read.weights, pooled(texts))),
            base=before.manifest.base,
            teacher=f"{before.id} sha256:{before.manifest_sha256}",
            attribution=tuple(dict.fromkeys((*before.manifest.attribution, *recipe.attribution))),
        )
        measured = {str(read.shape.num_hidden_layers): {"accuracy": _accuracy(trained, seen)}}
        known = knowledge.of(recipe, seen)
        return bundling.make(recipe, seen, known, trained, measured, checked, work / "export", out, console)


def check_follows(before: Bundle, recipe: Recipe, seen: Data) -> None:
    """ValueError unless the data is the parent's, divided alike, and more beside it: else what has trained the parent
    might certify its child."""
    if others := lineage.differences(before, seen, may_have_more=True):
        raise ValueError(
            f"{recipe.source}: {before.id} was made of other data, or it was divided otherwise ({', '.join(others)}): "
            "what trained it might certify its child. Leave [data] as it was, and name what is new in `harvest`"
        )
    if before.manifest.max_tokens != recipe.student.max_tokens:
        raise ValueError(f"{recipe.source}: [student] max_tokens: {before.id} has {before.manifest.max_tokens}")


def _head(before: Parent, seen: Data, section: ExtendSection, read: Callable[[Sequence[str]], Matrix]) -> Head:
    numbers = {label: number for number, label in enumerate(seen.labels)}
    texts = [*(row.text for row in seen.train), *seen.outliers_train]
    inside = len(seen.train)
    heard = read(texts)
    lessons = Lessons(
        inside=heard[:inside],
        labels=np.array([numbers[row.category] for row in seen.train], np.int64),
        outliers=heard[inside:],
        before=Head(before.weights["answer.weight"].T, before.weights["answer.bias"]),
        places=incremental.places(before.labels, seen.labels),
        count=len(seen.labels),
    )
    return incremental.fit(lessons, section)


def _layer(head: Head) -> graph.Weights:
    """By its names in torch."""
    return {"answer.weight": np.ascontiguousarray(head.weight.T), "answer.bias": head.bias}


def _accuracy(trained: Trained, seen: Data) -> float:
    """On the questions of development."""
    best = trained.logits([row.text for row in seen.dev]).argmax(axis=1)
    return float(np.mean([seen.labels[one] == row.category for one, row in zip(best, seen.dev, strict=True)]))


def _say_sizes(before: Bundle, seen: Data, console: Console) -> None:
    fresh = sorted({*seen.labels} - {label.name for label in before.manifest.labels})
    sizes = "  ".join(
        f"{part} {len(getattr(seen, part))}" for part in ("labels", "train", "dev", "calibrate", "certify")
    )
    console.print(f"{before.id} and {len(fresh)} labels more: {', '.join(fresh) or 'none'}", highlight=False)
    console.print(sizes, highlight=False)
