"""A bundle: whatever is missing, changed or out of place is named before anything of it is loaded."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from gateway.cascade.standing import POOLED, Promise
from gateway.errors import BundleInvalid
from gateway.model import bundle as bundles
from gateway.model.bundle import EncoderPart
from gateway.types import CertificateStatus
from tests import tiny

FILES = [
    "weights.bin",
    "tokenizer.json",
    *(f"{precision}.onnx" for precision in tiny.PRECISIONS),
    *(f"prototypes.{precision}.npy" for precision in tiny.PRECISIONS),
    *(f"outcomes.{precision}.npy" for precision in tiny.PRECISIONS),
    "certificate.json",
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """A copy that a test may break."""
    return Path(shutil.copytree(whole, tmp_path / "tiny"))


def listing(folder: Path, *names: str) -> None:
    """Have the manifest list these names too, each with a hash that does not matter."""
    now = tiny.manifest(folder)
    tiny.rewrite(folder, now.model_copy(update={"files": now.files | dict.fromkeys(names, "0" * 64)}))


def test_a_whole_bundle_is_loaded(whole: Path) -> None:
    bundle = bundles.load(whole)
    assert bundle.id == "tiny/1"
    assert set(bundle.manifest.files) == set(FILES)
    assert {precision: one.shape for precision, one in bundle.prototypes.items()} == dict.fromkeys(
        tiny.PRECISIONS, (3, 2, 32)
    )


def test_a_profile_is_what_the_manifest_says(whole: Path) -> None:
    profile = bundles.load(whole).profile("int8")
    assert [label.name for label in profile.labels] == ["red", "green", "blue"]
    assert (profile.labels[0].document_id, profile.labels[1].text) == ("red", "It is green.")
    assert (profile.thresholds.answer, profile.thresholds.evidence) == (0.8, 0.5)
    assert profile.certificate == Promise(
        CertificateStatus.VALID, 0.05, 0.12, ("warm", POOLED, POOLED), (0.11, 0.12, 0.12)
    )
    assert profile.informed_certificate.status is CertificateStatus.VALID
    assert profile.thresholds.informed == 0.75
    assert profile.informed
    assert profile.informed.confidence.leading
    assert profile.model.confidence.leading is None


def test_a_bundle_may_be_without_an_informed_confidence(folder: Path) -> None:
    now = tiny.manifest(folder)
    eight = now.variants["int8"]
    plain = eight.model_copy(
        update={"calibration": eight.calibration.model_copy(update={"informed": None})},
    )
    tiny.rewrite(folder, now.model_copy(update={"variants": now.variants | {"int8": plain}}))
    profile = bundles.load(folder).profile("int8")
    assert profile.informed is None
    assert profile.thresholds.informed > 1


def test_a_missing_variant_is_named_with_those_that_there_are(folder: Path) -> None:
    now = tiny.manifest(folder)
    tiny.rewrite(folder, now.model_copy(update={"variants": {"fp32": now.variants["fp32"]}}))
    with pytest.raises(BundleInvalid, match="has no int8 variant; it has fp32"):
        bundles.load(folder).profile("int8")


@pytest.mark.parametrize("name", FILES)
def test_a_changed_byte_is_found_in_any_file(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(BundleInvalid, match=rf"{name} was changed"):
        bundles.load(folder)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(BundleInvalid, match=rf"{name} is missing"):
        bundles.load(folder)


def test_a_link_is_not_followed(folder: Path) -> None:
    elsewhere = folder.parent / "elsewhere.bin"
    (folder / "weights.bin").rename(elsewhere)
    (folder / "weights.bin").symlink_to(elsewhere)
    with pytest.raises(BundleInvalid, match="only plain files"):
        bundles.load(folder)


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "sub/file", "./weights.bin", "..", ""])
def test_a_name_that_leads_out_of_the_folder_is_refused(folder: Path, name: str) -> None:
    (folder.parent / "secret").write_text("secret")
    listing(folder, name)
    with pytest.raises(BundleInvalid):
        bundles.load(folder)


def test_a_file_over_the_limit_is_refused_unread(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundles, "MAX_BYTES", 10_000)
    with pytest.raises(BundleInvalid, match=r"the limit is 10000"):
        bundles.load(folder)


@pytest.mark.parametrize("name", ["weights.bin", "tokenizer.json", "int8.onnx", "prototypes.fp16.npy"])
def test_nothing_is_loaded_that_the_manifest_does_not_vouch_for(folder: Path, name: str) -> None:
    now = tiny.manifest(folder)
    files = {one: digest for one, digest in now.files.items() if one != name}
    tiny.rewrite(folder, now.model_copy(update={"files": files}))
    with pytest.raises(BundleInvalid, match=rf"{name} is not among the manifest's files"):
        bundles.load(folder)


@pytest.mark.parametrize("shape", [(2, 2, 32), (3, 2, 31), (3, 32)])
def test_prototypes_of_another_shape_are_refused(folder: Path, shape: tuple[int, ...]) -> None:
    np.save(folder / "prototypes.int8.npy", np.ones(shape, np.float16))
    tiny.rehash(folder, "prototypes.int8.npy")
    with pytest.raises(BundleInvalid, match=r"prototypes\.int8\.npy: shape .* does not fit 3 labels x 32"):
        bundles.load(folder)


@pytest.mark.parametrize("content", [b"", b"not an array", b"PK\x03\x04"])
def test_prototypes_that_are_no_array_are_refused(folder: Path, content: bytes) -> None:
    (folder / "prototypes.int8.npy").write_bytes(content)
    tiny.rehash(folder, "prototypes.int8.npy")
    with pytest.raises(BundleInvalid, match="not an array"):
        bundles.load(folder)


def test_prototypes_run_no_code(folder: Path) -> None:
    np.save(folder / "prototypes.int8.npy", np.array([{"a": 1}], object), allow_pickle=True)
    tiny.rehash(folder, "prototypes.int8.npy")
    with pytest.raises(BundleInvalid, match="not an array"):
        bundles.load(folder)


def test_an_empty_folder_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(BundleInvalid, match="gateway forge run"):
        bundles.load(tmp_path)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "not a manifest of format 3"),
        ("{}", "format: Field required"),
        ('{"format": 1}', "format: Input should be 3"),
    ],
)
def test_a_manifest_that_is_none_says_what_is_wrong(folder: Path, content: str, problem: str) -> None:
    (folder / bundles.MANIFEST).write_text(content)
    with pytest.raises(BundleInvalid, match=problem):
        bundles.load(folder)


def test_a_manifest_with_an_unknown_key_is_refused(folder: Path) -> None:
    text = (folder / bundles.MANIFEST).read_text()
    (folder / bundles.MANIFEST).write_text(text.replace('"format":3', '"format":3,"extra":1'))
    with pytest.raises(BundleInvalid, match="extra: Extra inputs"):
        bundles.load(folder)


def test_the_hash_of_outputs_depends_on_graph_weights_and_tokenizer() -> None:
    files = {"int8.onnx": "a", "weights.bin": "b", "tokenizer.json": "c", "CARD.md": "d"}
    first = bundles.outputs_sha256(files, "int8.onnx")
    changed = {bundles.outputs_sha256(files | {name: "x"}, "int8.onnx") for name in files if name != "CARD.md"}
    assert len(changed | {first}) == 4
    assert bundles.outputs_sha256(files | {"CARD.md": "x"}, "int8.onnx") == first


def test_vectors_are_known_by_what_makes_embeddings(whole: Path) -> None:
    """By all that the graph puts out, unless the manifest says of that very graph, with these weights, what does."""
    now = bundles.load(whole).manifest

    def known_by(said: EncoderPart | None, **changed: str) -> str:
        eight = now.variants["int8"].model_copy(update={"encoder": said})
        files = now.files | {name.replace("_", "."): digest for name, digest in changed.items()}
        manifest = now.model_copy(update={"variants": now.variants | {"int8": eight}, "files": files})
        return bundles.encoder_sha256(manifest, "int8")

    part = EncoderPart(sha256="trunk", graph=now.files["int8.onnx"], weights=now.files["weights.bin"])
    complete, own = known_by(None), known_by(part)
    assert complete == bundles.outputs_sha256(now.files, "int8.onnx") != own
    # Another head on the same trunk: another graph and other weights, of which the manifest says the same.
    assert known_by(EncoderPart(sha256="trunk", graph="g", weights="w"), int8_onnx="g", weights_bin="w") == own
    assert known_by(part, int8_onnx="g") == known_by(None, int8_onnx="g")
    assert known_by(part, weights_bin="w") == known_by(None, weights_bin="w")
    assert len({own, known_by(part.model_copy(update={"sha256": "other"})), known_by(part, tokenizer_json="t")}) == 3
    longer = now.model_copy(update={"max_tokens": now.max_tokens + 1})
    eight = longer.variants["int8"].model_copy(update={"encoder": part})
    longer = longer.model_copy(update={"variants": longer.variants | {"int8": eight}})
    assert bundles.encoder_sha256(longer, "int8") != own
