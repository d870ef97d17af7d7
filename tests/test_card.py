"""The card: everything that it says is in the manifest, and it says what a reader needs to decide on."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.forge import card
from gateway.model.bundle import Manifest
from gateway.model.certificate import Certificate
from tests import tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture(scope="module")
def manifest(folder: Path) -> Manifest:
    return tiny.manifest(folder)


@pytest.fixture(scope="module")
def certificate(folder: Path) -> Certificate:
    return tiny.certificate(folder)


@pytest.mark.parametrize(
    "part",
    [
        "# tiny 1\n",
        "2 layers with two heads: it tells 3 intents apart, 1 of which stand for documents",
        "Made 2026-01-02 from random, taught by none, fine-tuned.",
        "| 1 | 80.0% | 23,456 |\n| 2 (this one) | 90.0% | 12,345 |",
        "| int8 | 99.90% | 1.6e-02 | 2 |\n| fp16 | 100.00% | 1.0e-03 | 0 |",
        "On 10 questions that trained nothing.",
        "| int8 | alone | valid | 0.800 | 300 | 6 | 3.91% | 12.0% | 0.900 (2.5%) |",
        "| int8 | informed | valid | 0.750 | 310 | 7 | 3.91% | 12.0% | 0.850 (2.5%) |",
        "With probability 95% over 400 certification questions and 500 outliers, at most 5% of the model's answers are",
        "Groups of intents with a certificate of their own: warm (int8, alone: 3.00%)",
        "Licence of the weights: Apache-2.0.",
        "- nobody",
    ],
)
def test_a_card_says(manifest: Manifest, certificate: Certificate, part: str) -> None:
    assert part in card.write(manifest, certificate)


def test_students_are_in_order_of_depth(manifest: Manifest, certificate: Certificate) -> None:
    students = {str(layers): {"accuracy": 0.9} for layers in (12, 6, 3)}
    changed = manifest.model_copy(update={"metrics": manifest.metrics | {"students": students}})
    written = card.write(changed, certificate)
    assert written.index("| 3 |") < written.index("| 6 |") < written.index("| 12 |")


def test_a_card_says_where_no_outliers_were_measured(manifest: Manifest, certificate: Certificate) -> None:
    assert "at an out-of-scope share of up to 10%" in card.write(manifest, certificate)
    assert "no outliers were measured" in card.write(manifest, certificate.model_copy(update={"outliers": 0}))


@pytest.mark.parametrize(("needed", "said"), [(180, "About 180 would be needed"), (0, "would not help")])
def test_an_insufficient_certificate_is_a_warning_with_numbers(
    certificate: Certificate, needed: int, said: str
) -> None:
    assert card.warnings(certificate) == []
    for which, name in (("alone", "alone"), ("informed", "informed by a search")):
        (found,) = card.warnings(tiny.insufficient(certificate, which, needed))
        assert said in found
        assert f"of the confidence {name} is INSUFFICIENT" in found
        assert "24 certification questions and 0 outliers do not show that at most 5%" in found


def test_a_card_says_what_was_found_in_the_data(manifest: Manifest, certificate: Certificate) -> None:
    assert "## Data" not in card.write(manifest, certificate)
    checked = {
        "sizes": {"train": 1000, "certify": 50, "outliers_train": 20},
        "few": {},
        "contradictions": 2,
        "near": {"train": {"certify": 5}},
        "near_with_other_labels": 3,
        "near_outliers": 1,
        "never": {"test.csv": "0" * 64},
        "leaks": {"same": {}, "near": {"train": 4}},
        "noise": {"questions": 1050, "accuracy": 0.9, "suspects": 21, "most": [["red", "blue", 7]]},
    }
    written = card.write(manifest.model_copy(update={"metrics": manifest.metrics | {"checks": checked}}), certificate)
    for line in (
        "- Texts: train 1,000, certify 50, outliers train 20.",
        "- Labels that may be wrong: 21 of 1,050, by a classifier of words that is right for 90.0%;",
        " Most: red for blue (7).",
        "- The same text with several labels: 2, of which the first is kept. ",
        "Nearly the same with other labels: 3 pairs.",
        "- Nearly the same as one that trains: certify 5 (10.0%).",
        "- Outliers that are nearly a question of an intent: 1.",
        "- Of the questions of test.csv, which must not train, there are the same in: no part; nearly ",
    ):
        assert line in written
    assert written.index("## Data") < written.index("## Terms")
