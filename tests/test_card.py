"""The card: everything that it says is in the manifest, and it says what a reader needs to decide on."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.forge import card
from gateway.model.bundle import Manifest
from tests import tiny


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    folder: Path = tiny.write(tmp_path_factory.mktemp("bundles") / "tiny")
    return tiny.manifest(folder)


@pytest.mark.parametrize(
    "part",
    [
        "# tiny 1\n",
        "2 layers with two heads: it tells 3 intents apart, 1 of which stand for documents",
        "Made 2026-01-02 from random, taught by none.",
        "| 1 | 80.0% | 23,456 |\n| 2 (this one) | 90.0% | 12,345 |",
        "| int8 | 99.90% | 1.6e-02 | 2 |\n| fp16 | 100.00% | 1.0e-03 | 0 |",
        "On 10 questions that trained nothing.",
        "| int8 | valid | 0.800 | 300 | 6 | 3.91% |",
        "With probability 95% over the certification questions, at most 5% of the model's answers are wrong",
        "Licence of the weights: Apache-2.0.",
        "- nobody",
    ],
)
def test_a_card_says(manifest: Manifest, part: str) -> None:
    assert part in card.write(manifest)


def test_students_are_in_order_of_depth(manifest: Manifest) -> None:
    students = {str(layers): {"accuracy": 0.9} for layers in (12, 6, 3)}
    written = card.write(manifest.model_copy(update={"metrics": manifest.metrics | {"students": students}}))
    assert written.index("| 3 |") < written.index("| 6 |") < written.index("| 12 |")
