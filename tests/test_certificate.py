"""The certificate in a bundle: it is of the files that it was given for, or it is no certificate."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gateway import assembly
from gateway.cascade.policy import NEVER
from gateway.cascade.standing import POOLED
from gateway.config import Config, KnowledgeSection, ModelSection, Uncertified
from gateway.deadline import Deadline
from gateway.errors import BundleInvalid
from gateway.forge import certificates, outcomes
from gateway.forge.certify import Asked
from gateway.forge.outcomes import NO_LABEL, Outcomes, Part
from gateway.model import bundle as bundles
from gateway.model import certificate as parts
from gateway.types import CertificateStatus, Policy, Question
from tests import tiny

ASKED = Asked(0.05, 0.95, 0.1)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "tiny"))


def touch(folder: Path, name: str) -> None:
    """Other bytes, which the manifest vouches for."""
    path = folder / name
    path.write_bytes(path.read_bytes() + b"\n")
    tiny.rehash(folder, name)


def _calibration(folder: Path) -> None:
    now = tiny.manifest(folder)
    eight = now.variants["int8"]
    other = eight.model_copy(update={"calibration": eight.calibration.model_copy(update={"temperature": 1.01})})
    tiny.rewrite(folder, now.model_copy(update={"variants": now.variants | {"int8": other}}))


def _prototypes(folder: Path) -> None:
    name = "prototypes.int8.npy"
    np.save(folder / name, np.load(folder / name)[:, ::-1])
    tiny.rehash(folder, name)


def _data(folder: Path) -> None:
    tiny.rewrite(folder, tiny.manifest(folder).model_copy(update={"data": {"other.csv": "1" * 64}}))


def _grid(folder: Path) -> None:
    given = tiny.certificate(folder)
    eight = given.variants["int8"]
    other = eight.model_copy(update={"hashes": eight.hashes.model_copy(update={"grid": "1" * 64})})
    tiny.write_certificate(folder, given.model_copy(update={"variants": given.variants | {"int8": other}}))


CHANGES: dict[str, Callable[[Path], None]] = {
    "graph": lambda folder: touch(folder, "int8.onnx"),
    "weights": lambda folder: touch(folder, "weights.bin"),
    "tokenizer": lambda folder: touch(folder, "tokenizer.json"),
    "calibration": _calibration,
    "outcomes": lambda folder: touch(folder, "outcomes.int8.npy"),
    "data": _data,
    "grid": _grid,
}


def test_every_hash_is_tried() -> None:
    assert set(CHANGES) == set(parts.Hashes.model_fields)


@pytest.mark.parametrize("what", CHANGES)
def test_a_certificate_for_another_is_none(folder: Path, what: str) -> None:
    assert bundles.load(folder).uncertified == ""
    CHANGES[what](folder)
    bundle = bundles.load(folder)
    assert f"the int8 certificate was given for another {what}; certify the bundle again" in bundle.uncertified
    assert str(folder) in bundle.uncertified
    profile = bundle.profile("int8")
    assert profile.certificate.status is profile.informed_certificate.status is CertificateStatus.INSUFFICIENT


def test_prototypes_are_part_of_the_calibration(folder: Path) -> None:
    _prototypes(folder)
    assert "another calibration" in bundles.load(folder).uncertified


def test_what_is_the_same_in_all_precisions_is_said_once_with_all_that_differs(folder: Path) -> None:
    for what in ("weights", "tokenizer"):
        CHANGES[what](folder)
    assert "int8 certificate was given for another weights and another tokenizer;" in bundles.load(folder).uncertified


def test_a_bundle_without_the_outcomes_has_no_certificate_although_that_says_so_too(folder: Path) -> None:
    now = tiny.manifest(folder)
    files = {name: digest for name, digest in now.files.items() if name != "outcomes.int8.npy"}
    tiny.rewrite(folder, now.model_copy(update={"files": files}))
    tiny.certify(folder)
    assert "another outcomes" in bundles.load(folder).uncertified


def test_a_threshold_that_was_never_tried_is_none(folder: Path) -> None:
    tiny.certify(folder, alone=(0.8125, 0.9))
    assert "a threshold that was never tried, 0.8125" in bundles.load(folder).uncertified


def test_without_a_certificate_the_model_answers_nothing(folder: Path) -> None:
    now = tiny.manifest(folder)
    files = {name: digest for name, digest in now.files.items() if name != parts.NAME}
    tiny.rewrite(folder, now.model_copy(update={"files": files}))
    bundle = bundles.load(folder)
    assert "has no certificate.json" in bundle.uncertified
    assert bundle.profile("int8").thresholds.answer == NEVER


@pytest.mark.parametrize("content", ["", "{}", '{"format": 2}', "no JSON"])
def test_what_is_no_certificate_is_refused(folder: Path, content: str) -> None:
    (folder / parts.NAME).write_text(content)
    tiny.rehash(folder, parts.NAME)
    with pytest.raises(BundleInvalid, match=r"not a certificate of format 1.*gateway certify"):
        bundles.load(folder)


def config(folder: Path, uncertified: Uncertified = Uncertified.REFUSE) -> Config:
    model = ModelSection(bundle=folder, uncertified=uncertified)
    return Config(model=model, knowledge=KnowledgeSection(collections={}))


def test_a_server_refuses_it_and_says_what_to_do(folder: Path) -> None:
    CHANGES["tokenizer"](folder)
    with pytest.raises(
        BundleInvalid, match=r'another tokenizer; .*gateway certify.*; or .*model\.uncertified = "serve"'
    ):
        assembly.assemble(config(folder))


async def test_or_serves_it_by_the_stricter_threshold_and_promises_nothing(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tiny.certify(folder, alone=(0.3, 0.05))
    CHANGES["data"](folder)
    gateway = assembly.assemble(config(folder, Uncertified.SERVE))
    gateway.start()
    try:
        assert "served without a promise" in caplog.text
        now = gateway.describe()
        assert (now.certificate, now.threshold) == (CertificateStatus.INSUFFICIENT, 0.05)
        assert "another data" in now.certificate_reason
        assert (now.certified_risk, now.certified_oos_share) == (0, 0)
        for is_stale in (False, True):
            if is_stale:
                gateway.standing.mark_stale("it moved")
            answer = await gateway.answer(Question("word1", "", policy=Policy.MODEL_ONLY), Deadline.after(30))
            assert (answer.certificate, answer.threshold) == (CertificateStatus.INSUFFICIENT, 0.05)
            assert (answer.certificate_group, answer.certified_risk) == ("", 0)
    finally:
        await gateway.close()


async def test_an_answer_says_what_is_promised(folder: Path) -> None:
    gateway = assembly.assemble(config(folder))
    gateway.start()
    try:
        answer = await gateway.answer(Question("word1", "", policy=Policy.MODEL_ONLY), Deadline.after(30))
        logits, _ = gateway.engine.outputs(["word1"])
        group = "warm" if int(logits[0].argmax()) == 0 else POOLED
        assert (answer.certificate_group, answer.certified_risk, answer.certified_oos_share) == (group, 0.05, 0.12)
        described = gateway.describe()
        assert (described.certified_risk, described.certified_oos_share) == (0.05, 0.12)
    finally:
        await gateway.close()


def made(count: int, wrong: int, outside: int = 1000) -> Outcomes:
    """`count` certain questions to calibrate and as many to certify, `wrong` of the latter; labels 0 and 1 in turn, and
    wrong predictions are of label 1."""

    def part(
        which: Part, size: int, wrong: int, label: int | None, sure: float
    ) -> np.ndarray[tuple[int], np.dtype[np.void]]:
        labels = np.full(size, NO_LABEL) if label is None else np.arange(size) % 2
        predicted = np.where(np.arange(size) < wrong, 1, np.arange(size) % 2)
        labels = np.where(np.arange(size) < wrong, 0, labels) if wrong else labels
        confidence = np.full(size, sure, np.float32)
        return outcomes.rows(which, labels, np.eye(2, dtype=np.float32)[predicted], confidence, None)

    rows = [
        part(Part.CALIBRATE, count, 0, 0, 0.9),
        part(Part.CALIBRATE, outside, 0, None, 0.1),
        part(Part.CERTIFY, count, wrong, 0, 0.9),
        part(Part.CERTIFY, outside, 0, None, 0.1),
    ]
    return Outcomes(np.concatenate(rows))


def test_groups_with_enough_questions_have_a_certificate_of_their_own() -> None:
    found = certificates.confidence(made(1000, 15), "alone", ASKED, ("zeros", "ones")).groups
    assert found["zeros"].is_certified
    assert (found["zeros"].accepted, found["zeros"].wrong) == (492, 0)
    assert (found["ones"].accepted, found["ones"].wrong) == (508, 15)
    assert found["ones"].is_certified == (found["ones"].upper_bound <= 0.05)


def test_a_group_that_is_wrong_too_often_is_only_pooled() -> None:
    given = certificates.confidence(made(1000, 30), "alone", ASKED, ("zeros", "ones"))
    assert given.status is CertificateStatus.VALID
    assert given.groups["zeros"].is_certified
    assert not given.groups["ones"].is_certified
    assert given.promise(("zeros", "ones")).groups == ("zeros", POOLED)
    assert given.stale_promise(2).groups == (POOLED, POOLED)


def test_a_group_of_its_own_is_promised_no_more_outliers_than_it_was_certified_with() -> None:
    """All outliers that are accepted look like zeros: of these alone they are a larger share than of all answers."""
    some = made(1000, 0, 2000)
    outliers = np.flatnonzero(some.rows["label"] == NO_LABEL)
    some.rows["predicted"][outliers], some.rows["alone"][outliers[::50]] = 0, 0.9
    given = certificates.confidence(some, "alone", ASKED, ("zeros", "ones"))
    zeros, ones = (given.groups[name].certified_up_to_oos_share for name in ("zeros", "ones"))
    pooled = given.operating.certified_up_to_oos_share
    assert ASKED.oos_share <= zeros < pooled < ones
    promise = given.promise(("zeros", "ones", ""))
    assert promise.group_oos_shares == (zeros, ones, pooled)
    assert [promise.group_oos_share(label) for label in range(3)] == [zeros, ones, pooled]
    assert given.stale_promise(3).group_oos_share(0) == given.back_off.certified_up_to_oos_share


def test_groups_share_the_error_probability() -> None:
    """121 questions of a group without an error would do alone, and not beside another group."""
    count = 2 * 121
    alone = certificates.confidence(made(count, 0, 10_000), "alone", Asked(0.05, 0.95, 0.01), ("zeros", "")).groups
    shared = certificates.confidence(made(count, 0, 10_000), "alone", Asked(0.05, 0.95, 0.01), ("zeros", "ones")).groups
    assert list(alone) == ["zeros"]
    assert alone["zeros"].upper_bound < shared["zeros"].upper_bound


def test_where_nothing_is_certified_no_group_is() -> None:
    given = certificates.confidence(made(1000, 500), "alone", ASKED, ("zeros", "ones"))
    assert given.status is CertificateStatus.INSUFFICIENT
    assert (given.groups, given.risk_by_oos_share) == ({}, ())
    assert given.promise(("zeros", "ones")) == given.stale_promise(2)


def test_outcomes_are_read_as_they_were_written(tmp_path: Path) -> None:
    some = made(10, 2)
    outcomes.write(tmp_path / "some.npy", some)
    found = outcomes.read(tmp_path / "some.npy")
    assert (found.rows == some.rows).all() or np.isnan(found.rows["informed"]).all()
    assert found.confidences == ("alone",)
    assert found.sample("alone", Part.CERTIFY).counts(0.5).wrong == 2


@pytest.mark.parametrize("content", [b"", b"PK", np.lib.format.magic(1, 0)])
def test_other_files_are_no_outcomes(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "some.npy").write_bytes(content)
    with pytest.raises(ValueError, match=r"some\.npy"):
        outcomes.read(tmp_path / "some.npy")


def test_other_arrays_are_no_outcomes(tmp_path: Path) -> None:
    np.save(tmp_path / "some.npy", np.ones(3))
    with pytest.raises(ValueError, match="holds no outcomes"):
        outcomes.read(tmp_path / "some.npy")
