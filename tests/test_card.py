"""The card: everything that it says is in the manifest, and it says what a reader needs to decide on."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.forge import card
from gateway.model.bundle import Manifest
from gateway.types import CertificateStatus
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
        "Made 2026-01-02 from random, taught by none, fine-tuned.",
        "| 1 | 80.0% | 23,456 |\n| 2 (this one) | 90.0% | 12,345 |",
        "| int8 | 99.90% | 1.6e-02 | 2 |\n| fp16 | 100.00% | 1.0e-03 | 0 |",
        "On 10 questions that trained nothing.",
        "| int8 | alone | valid | 0.800 | 300 | 6 | 3.91% |\n| int8 | informed | valid | 0.750 | 310 | 7 | 3.91% |",
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


def test_a_card_says_where_no_outliers_were_measured(manifest: Manifest) -> None:
    assert "at an out-of-scope share of up to 10%" in card.write(manifest)
    without = {
        name: one.model_copy(update={"certificate": one.certificate.model_copy(update={"oos_share": 0.0})})
        for name, one in manifest.variants.items()
    }
    assert "no outliers were measured" in card.write(manifest.model_copy(update={"variants": without}))


@pytest.mark.parametrize(("needed", "said"), [(180.0, "About 180 would be needed"), (0.0, "would not help")])
def test_an_insufficient_certificate_is_a_warning_with_numbers(manifest: Manifest, needed: float, said: str) -> None:
    counts = {"certify_questions": 24, "certify_outliers": 0, "questions_needed": needed}
    metrics = manifest.metrics | {"fitted": {"int8": counts | {"informed_questions_needed": needed}}}
    assert card.warnings(manifest.model_copy(update={"metrics": metrics})) == []
    one = manifest.variants["int8"]
    status = one.certificate.model_copy(update={"status": CertificateStatus.INSUFFICIENT})
    for which, name in (("certificate", "alone"), ("informed_certificate", "informed by a search")):
        variants = manifest.variants | {"int8": one.model_copy(update={which: status})}
        (found,) = card.warnings(manifest.model_copy(update={"metrics": metrics, "variants": variants}))
        assert said in found
        assert f"of the confidence {name} is INSUFFICIENT" in found
        assert "24 certification questions and 0 outliers do not show that at most 5%" in found
