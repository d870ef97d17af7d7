"""`words`: how sure a search by words alone may be, which answers while the model does not run."""

from __future__ import annotations

import csv
import random
from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from gateway.cascade import fitting, words
from gateway.cascade.calibration import EVIDENCE_DEPTH
from gateway.knowledge.documents import read_folder, slug
from gateway.knowledge.generation import Generation
from gateway.knowledge.library import Library
from gateway.types import Matrix, Principal

QUESTIONS = 3000
DIM = 8
"""Of vectors that nothing goes by here."""
SURE = (0.5, 0.6, 0.7)


@click.command("words", short_help="How sure a search by words alone may be.")
@click.argument("questions", type=click.Path(path_type=Path, exists=True, dir_okay=False), metavar="CSV")
@click.option("--documents", type=click.Path(path_type=Path, exists=True), default=Path("index/banking"))
def words_(questions: Path, documents: Path) -> None:
    """CSV has text,category, each category being a document's id: of training questions. Prints the regression that
    `cascade.words` has, and what comes of it."""
    library = Library({"all": Generation.build(read_folder(documents), _anything)})
    with questions.open(encoding="utf-8", newline="") as file:
        asked = [(row["text"], slug(row["category"])) for row in csv.DictReader(file)]
    random.Random(1).shuffle(asked)  # noqa: S311 - a sample, no secret
    tried = [_tried(library, text, right) for text, right in asked[:QUESTIONS]]
    rows, is_right = np.array([row for row, _ in tried]), np.array([right for _, right in tried])
    bias, coverage, lead = _fitted(rows, is_right)
    click.echo(f"{len(tried)} questions, the right document first for {is_right.mean():.1%}")
    click.echo(f"fitted: bias {bias:.2f}, coverage {coverage:.2f}, lead {lead:.2f}")
    sure = np.array([words.confidence([("", first), ("", first - ahead)]) for first, ahead in rows])
    for least in SURE:
        kept = sure >= least
        click.echo(
            f"by cascade.words, {least:g} and more: {kept.mean():.1%} of them, right {is_right[kept].mean():.1%}"
        )


def _tried(library: Library, text: str, right: str) -> tuple[tuple[float, float], bool]:
    """Coverage and lead of the first document, and whether it is the right one."""
    found = library.rank_by_words("all", text, Principal(), EVIDENCE_DEPTH).documents
    (best, first), (_, second) = (*found[:2], ("", 0.0), ("", 0.0))[:2]
    return (first, first - second), best == right


def _fitted(rows: NDArray[np.float64], is_right: NDArray[np.bool_]) -> tuple[float, float, float]:
    """Bias and slopes of a logistic regression, as plain features are multiplied with."""
    found = fitting.logistic(rows, is_right)
    slopes = np.divide(found.weights, found.scale)
    return float(found.bias - slopes @ found.centre), float(slopes[0]), float(slopes[1])


def _anything(texts: Sequence[str]) -> Matrix:
    made = np.random.default_rng(0).standard_normal((len(texts), DIM)).astype(np.float32)
    return np.asarray(made / np.linalg.norm(made, axis=1, keepdims=True), np.float32)
