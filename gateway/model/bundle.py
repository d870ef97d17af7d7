"""A bundle: one folder with everything that one model version needs, and a manifest that vouches for each file.

Nothing in the folder reaches a native parser before its sha256 has been compared with the manifest's. What is promised
of its thresholds is in `certificate.json`, and bound to what it was measured with.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, ValidationError

from gateway.cascade.bounds import grid_sha256
from gateway.cascade.calibration import Confidence, EvidenceCalibration, InformedCalibration, Logistic, ModelCalibration
from gateway.cascade.cascade import Label, Profile
from gateway.cascade.outlook import Outlook
from gateway.cascade.policy import Thresholds
from gateway.cascade.standing import Promise, Terms
from gateway.errors import BundleInvalid
from gateway.model import certificate as certificates
from gateway.model import signature
from gateway.model.certificate import Certificate, Hashes, digest, threshold, wrong_in
from gateway.model.certificate import Part as _Part
from gateway.types import Matrix

FORMAT = 3
Precision = Literal["int8", "fp16", "fp32"]
MANIFEST = "manifest.json"
TOKENIZER = "tokenizer.json"
WEIGHTS = "weights.bin"
"""One file of weights for all graphs of a bundle; each precision unpacks the same 8-bit matrices."""
MAX_BYTES = 512 * 2**20


class LabelPart(_Part):
    """A label and what it stands for; `group` is what it is certified with, where that is large enough."""

    name: str
    group: str = ""
    document_id: str = ""
    content_hash: str = ""
    text: str = ""


class LogisticPart(_Part):
    """A fitted logistic regression; see `cascade.calibration.Logistic`."""

    weights: tuple[float, ...]
    bias: float
    centre: tuple[float, ...]
    scale: tuple[float, ...]

    def value(self) -> Logistic:
        return Logistic(self.weights, self.bias, self.centre, self.scale)


class ConfidencePart(_Part):
    """See `cascade.calibration.Confidence`."""

    right: LogisticPart
    scope: LogisticPart
    joint: LogisticPart
    leading: LogisticPart | None = None

    def value(self) -> Confidence:
        leading = self.leading.value() if self.leading else None
        return Confidence(self.right.value(), self.scope.value(), self.joint.value(), leading)


class InformedPart(_Part):
    """See `cascade.calibration.InformedCalibration`."""

    confidence: ConfidencePart
    sharpness: Annotated[float, Field(gt=0)]
    blend: LogisticPart

    def value(self) -> InformedCalibration:
        return InformedCalibration(self.confidence.value(), self.sharpness, self.blend.value())


class OutlookPart(_Part):
    """See `cascade.outlook.Outlook`."""

    right: LogisticPart
    model_doubt: Annotated[float, Field(ge=0, le=1)]
    search_doubt: Annotated[float, Field(ge=0, le=1)]
    correlation: Annotated[float, Field(ge=-1, le=1)]

    def value(self) -> Outlook:
        return Outlook(self.right.value(), self.model_doubt, self.search_doubt, self.correlation)


class CalibrationPart(_Part):
    """The numbers of one precision variant, fitted on its own outputs."""

    temperature: Annotated[float, Field(gt=0)]
    scope_floor: float
    confidence: ConfidencePart
    informed: InformedPart | None = None
    evidence: LogisticPart


class ThresholdsPart(_Part):
    """The other thresholds; the model's own come from the certificate."""

    evidence: float
    ensemble: float
    ensemble_weight: float


class EncoderPart(_Part):
    """What of a graph makes embeddings: the `sha256` of that, without the answer head. It is of the `graph` and the
    `weights` with these sha256, and of no others."""

    sha256: str
    graph: str
    weights: str


class VariantPart(_Part):
    """One precision: its graph, what makes its embeddings, its calibration, what a search promises, and the thresholds
    of the other tiers."""

    graph: str
    encoder: EncoderPart | None = None
    calibration: CalibrationPart
    outlook: OutlookPart | None = None
    thresholds: ThresholdsPart


class GoldenPart(_Part):
    """A text with the reference's answer: what the loaded graph must reproduce on this machine."""

    text: str
    label: str
    probability: float


class ParentPart(_Part):
    """The bundle that this one was made to follow, by what it said of itself then."""

    name: str
    version: str
    manifest_sha256: str


class Manifest(_Part):
    """`manifest.json`. `files` maps every other file of the bundle to its sha256."""

    format: Literal[3]
    name: str
    version: str
    created: str
    parent: ParentPart | None = None
    licence: str
    attribution: tuple[str, ...]
    base: str
    teacher: str
    layers: int
    dim: Annotated[int, Field(gt=0)]
    max_tokens: Annotated[int, Field(gt=0, le=512)]
    labels: tuple[LabelPart, ...]
    variants: dict[Precision, VariantPart]
    golden: tuple[GoldenPart, ...]
    recipe: dict[str, Any]
    data: dict[str, str]
    metrics: dict[str, Any]
    files: dict[str, str]


@dataclass(frozen=True, slots=True)
class Bundle:
    """A verified bundle in `folder`. `manifest_sha256` stands for all its contents.

    `uncertified` says why nothing is promised of its thresholds, though somebody once may have: there is no
    certificate, or it was given for other files. It is empty otherwise.
    """

    folder: Path
    manifest: Manifest
    manifest_sha256: str
    prototypes: dict[str, Matrix]
    certificate: Certificate | None
    uncertified: str

    @property
    def id(self) -> str:
        return f"{self.manifest.name}/{self.manifest.version}"

    def path(self, name: str) -> Path:
        return self.folder / name

    def profile(self, precision: Precision) -> Profile:
        """What the cascade needs to know, for one precision. Raises BundleInvalid if it has none."""
        variant = self.variant(precision)
        calibration = variant.calibration
        fresh, stale = self._terms(precision, variant)
        return Profile(
            bundle=self.id,
            labels=tuple(Label(one.name, one.document_id, one.content_hash, one.text) for one in self.manifest.labels),
            model=ModelCalibration(
                calibration.temperature,
                calibration.scope_floor,
                self.prototypes[precision],
                calibration.confidence.value(),
            ),
            evidence=EvidenceCalibration(calibration.evidence.value()),
            thresholds=fresh.thresholds,
            certificate=fresh.alone,
            informed=calibration.informed.value() if calibration.informed else None,
            informed_certificate=fresh.informed,
            back_off=stale,
            outlook=variant.outlook.value() if variant.outlook else None,
        )

    def _terms(self, precision: Precision, variant: VariantPart) -> tuple[Terms, Terms]:
        """Of a certificate that is fresh, and of one that is stale. Whoever serves one that is not of this bundle all
        the same does so by the stricter thresholds, and nothing is promised."""
        certified = self.certificate.variants.get(precision) if self.certificate else None
        alone = certified.alone if certified else None
        informed = certified.informed if certified and variant.calibration.informed else None
        given = variant.thresholds
        thresholds = Thresholds(
            answer=threshold(alone),
            evidence=given.evidence,
            ensemble=given.ensemble,
            weight=given.ensemble_weight,
            informed=threshold(informed),
        )
        stricter = thresholds.stricter(threshold(alone, is_back_off=True), threshold(informed, is_back_off=True))
        if self.uncertified:
            nothing = Terms(replace(stricter, fresh=None), Promise(), Promise())
            return nothing, nothing
        groups = [one.group for one in self.manifest.labels]
        promises = [one.promise(groups) if one else Promise() for one in (alone, informed)]
        stale = [one.stale_promise(len(groups)) if one else Promise() for one in (alone, informed)]
        return Terms(thresholds, *promises), Terms(stricter, *stale)

    def encoder_sha256(self, precision: Precision) -> str:
        """One hash for all that decides what embeddings are: stored vectors are known by it."""
        return encoder_sha256(self.manifest, precision)

    def outputs_sha256(self, precision: Precision) -> str:
        """One hash for all that decides what a graph puts out, logits as well."""
        return outputs_sha256(self.manifest.files, self.variant(precision).graph)

    def variant(self, precision: Precision) -> VariantPart:
        try:
            return self.manifest.variants[precision]
        except KeyError:
            raise BundleInvalid(
                f"{self.folder}: has no {precision} variant; it has {', '.join(self.manifest.variants)}"
            ) from None


def load(folder: Path, trusted: Sequence[Path] = ()) -> Bundle:
    """Read the manifest and check every file against it. Raises BundleInvalid, saying which file and what is wrong.

    `trusted`: files of public keys, of which one has to have signed the manifest; without any nobody asks.
    """
    manifest, manifest_sha256 = _manifest(folder, trusted)
    for name in (WEIGHTS, TOKENIZER):
        if name not in manifest.files:  # the graph and the tokenizer's library would read it unchecked
            raise BundleInvalid(f"{folder}: {name} is not among the manifest's files")
    for name, expected in manifest.files.items():
        _check_file(folder, name, expected)
    for name, variant in manifest.variants.items():
        if variant.graph not in manifest.files:
            raise BundleInvalid(f"{folder}: the {name} graph {variant.graph} is not among the manifest's files")
    prototypes: dict[str, Matrix] = {name: _prototypes(folder, name, manifest) for name in manifest.variants}
    return Bundle(folder, manifest, manifest_sha256, prototypes, *_certified(folder, manifest))


def encoder_sha256(manifest: Manifest, precision: Precision) -> str:
    """Of trunk and retrieval head, tokenizer and the length at which texts are cut; where the manifest does not say of
    this very graph and these weights what of them makes embeddings, of all that they put out."""
    variant, files = manifest.variants[precision], manifest.files
    said = variant.encoder
    if said is None or (said.graph, said.weights) != (files.get(variant.graph), files.get(WEIGHTS)):
        return outputs_sha256(files, variant.graph)
    parts = (said.sha256, files.get(TOKENIZER, ""), str(manifest.max_tokens))
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()


def outputs_sha256(files: dict[str, str], graph: str) -> str:
    """Of a graph, its weights and its tokenizer."""
    parts = [files.get(name, "") for name in (graph, WEIGHTS, TOKENIZER)]
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()


def hashes(manifest: Manifest, precision: Precision) -> Hashes:
    """Of what the thresholds of one precision rest on, as the bundle is now."""
    variant, files = manifest.variants[precision], manifest.files
    return Hashes(
        graph=files.get(variant.graph, ""),
        weights=files.get(WEIGHTS, ""),
        tokenizer=files.get(TOKENIZER, ""),
        calibration=digest(variant.calibration.model_dump(mode="json"), files.get(prototypes_name(precision), "")),
        outcomes=files.get(outcomes_name(precision), ""),
        data=digest(manifest.data),
        grid=grid_sha256(),
    )


def prototypes_name(precision: str) -> str:
    return f"prototypes.{precision}.npy"


def outcomes_name(precision: str) -> str:
    """See `forge/outcomes.py`: it is read where the bundle is certified, not where it is served."""
    return f"outcomes.{precision}.npy"


def digest_of(manifest: bytes) -> str:
    """What a bundle is known by: the sha256 of its manifest."""
    return hashlib.sha256(manifest).hexdigest()


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _manifest(folder: Path, trusted: Sequence[Path]) -> tuple[Manifest, str]:
    """With its own sha256, of the very bytes that were read, whose signature is looked at before they are parsed."""
    path = folder / MANIFEST
    try:
        content = path.read_bytes()
        if trusted:
            signature.check(folder, content, trusted)
        return Manifest.model_validate_json(content), digest_of(content)
    except FileNotFoundError:
        raise BundleInvalid(
            f"no bundle in {folder}: {MANIFEST} is missing. Name a folder that `gateway forge run` wrote."
        ) from None
    except OSError as error:
        raise BundleInvalid(f"{path}: {error}") from error
    except ValidationError as error:
        raise BundleInvalid(f"{path}: not a manifest of format {FORMAT}: {wrong_in(error)}") from error


def _check_file(folder: Path, name: str, expected: str) -> None:
    path = folder / name
    if Path(name).name != name or path.is_symlink():
        raise BundleInvalid(f"{folder}: the manifest names {name!r}; only plain files in the folder itself are read")
    if not path.is_file():
        raise BundleInvalid(f"{path} is missing, but the manifest lists it. Copy the whole folder again.")
    if path.stat().st_size > MAX_BYTES:
        raise BundleInvalid(f"{path} has {path.stat().st_size} bytes; the limit is {MAX_BYTES}")
    found = sha256(path)
    if found != expected:
        raise BundleInvalid(
            f"{path} was changed: sha256 is {found[:12]}..., the manifest says {expected[:12]}... "
            "Copy the whole folder again, or make the bundle anew."
        )


def _certified(folder: Path, manifest: Manifest) -> tuple[Certificate | None, str]:
    """The certificate, and why it is none of this bundle's; empty if it is."""
    again = f"certify the bundle again: gateway certify {folder}"
    if certificates.NAME not in manifest.files:
        return None, f"{folder} has no {certificates.NAME} among its manifest's files; {again}"
    found = certificates.read(folder)
    problem = found.problem({precision: hashes(manifest, precision) for precision in manifest.variants})
    return found, f"{folder}: {problem}; {again}" if problem else ""


def _prototypes(folder: Path, precision: str, manifest: Manifest) -> Matrix:
    """[labels, each, dim], unit length. `allow_pickle` stays off: an array file must not run code."""
    name = prototypes_name(precision)
    if name not in manifest.files:
        raise BundleInvalid(f"{folder}: {name} is not among the manifest's files")
    try:
        content = io.BytesIO((folder / name).read_bytes())
        found = np.lib.format.read_array(content, allow_pickle=False).astype(np.float32)
    except ValueError as error:
        raise BundleInvalid(f"{folder / name}: not an array: {error}") from error
    if found.ndim != 3 or found.shape[0] != len(manifest.labels) or found.shape[2] != manifest.dim:
        raise BundleInvalid(
            f"{folder / name}: shape {list(found.shape)} does not fit {len(manifest.labels)} labels x {manifest.dim}"
        )
    return np.ascontiguousarray(found)
