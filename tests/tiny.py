"""A whole bundle in miniature: random weights that tell three made-up intents apart, laid out as the forge does it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from gateway.cascade.calibration import softmax
from gateway.cascade.policy import NEVER
from gateway.forge import graph, outcomes, sharing
from gateway.forge.outcomes import NO_LABEL, Outcomes, Part
from gateway.forge.shape import Shape
from gateway.model import bundle as bundles
from gateway.model.bundle import (
    CalibrationPart,
    ConfidencePart,
    GoldenPart,
    InformedPart,
    LabelPart,
    LogisticPart,
    Manifest,
    Precision,
    ThresholdsPart,
    VariantPart,
)
from gateway.model.certificate import FORMAT, NAME, Certificate, Confidence, Group, Threshold, VariantCertificate
from gateway.model.packing import Tokenization, pack
from gateway.types import Matrix

SHAPE = Shape(
    vocab_size=100,
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=64,
    max_position_embeddings=64,
    layer_norm_eps=1e-12,
)
LABELS = ("red", "green", "blue")
PRECISIONS: tuple[Precision, ...] = ("int8", "fp16", "fp32")
WORDS = [f"word{number}" for number in range(SHAPE.vocab_size - 4)]
MAX_TOKENS = 32
WIDTH = 48
"""Of the answer head's hidden layer."""


def questions(count: int, seed: int = 0, longest: int = 12) -> list[str]:
    """Texts of 1 to `longest` known words."""
    chance = np.random.default_rng(seed)
    return [" ".join(chance.choice(WORDS, chance.integers(1, longest + 1))) for _ in range(count)]


def weights(seed: int = 0) -> graph.Weights:
    """A Student's state by its names in torch. Large enough for labels and attention to depend on the words."""
    chance = np.random.default_rng(seed)

    def normal(*shape: int, scale: float) -> Matrix:
        return np.asarray(chance.normal(scale=scale, size=shape), np.float32)

    # The first token is the same for every text: let the mean say more.
    hidden, inner = SHAPE.hidden_size, SHAPE.intermediate_size
    found = {
        "tokens.weight": normal(SHAPE.vocab_size, hidden, scale=1.0),
        "positions.weight": normal(SHAPE.max_position_embeddings, hidden, scale=0.3),
        "widen.weight": np.concatenate([normal(WIDTH, hidden, scale=0.3), normal(WIDTH, hidden, scale=0.003)], axis=1),
        "widen.bias": normal(WIDTH, scale=0.1),
        "answer.weight": normal(len(LABELS), WIDTH, scale=0.6),
        "answer.bias": normal(len(LABELS), scale=0.1),
        "retrieval.weight": normal(hidden, hidden, scale=0.3),
    }
    norms = ["norm", *(f"layers.{at}.{part}" for at in range(2) for part in ("attention_norm", "norm"))]
    for norm in norms:
        found |= {f"{norm}.weight": 1 + normal(hidden, scale=0.1), f"{norm}.bias": normal(hidden, scale=0.1)}
    sizes = dict.fromkeys(("query", "key", "value", "attention_out"), (hidden, hidden))
    for at in range(SHAPE.num_hidden_layers):
        for part, (out, into) in (sizes | {"up": (inner, hidden), "down": (hidden, inner)}).items():
            found[f"layers.{at}.{part}.weight"] = normal(out, into, scale=0.2)
            found[f"layers.{at}.{part}.bias"] = normal(out, scale=0.1)
    return found


def merged() -> graph.Weights:
    return graph.merge(weights(), SHAPE.num_hidden_layers)


def tokenizer() -> Tokenizer:
    vocabulary = {token: at for at, token in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return made


def run(model: Path | bytes, tokens: Sequence[list[int]]) -> tuple[Matrix, Matrix]:
    """(logits, embeddings) by a packed graph, without the gateway's session."""
    session = onnxruntime.InferenceSession(
        str(model) if isinstance(model, Path) else model, providers=["CPUExecutionProvider"]
    )
    logits, embedding = session.run(["logits", "embedding"], pack(tokens).inputs())
    return logits, embedding


def write(folder: Path, **changes: Any) -> Path:
    """A valid bundle in `folder`, `changes` made to its manifest. Returns `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = merged()
    models_by_name = {one: graph.build(SHAPE, whole, one) for one in PRECISIONS}
    sharing.save({str(name): model for name, model in models_by_name.items()}, folder)
    tokenizer().save(str(folder / "tokenizer.json"))
    for precision in PRECISIONS:
        prototypes = np.random.default_rng(1).normal(size=(len(LABELS), 2, SHAPE.hidden_size))
        prototypes /= np.linalg.norm(prototypes, axis=2, keepdims=True)
        np.save(folder / f"prototypes.{precision}.npy", prototypes.astype(np.float16))
        outcomes.write(folder / f"outcomes.{precision}.npy", _outcomes())
    files = {path.name: bundles.sha256(path) for path in sorted(folder.iterdir()) if path.name != bundles.MANIFEST}
    made = Manifest(
        format=3,
        name="tiny",
        version="1",
        created="2026-01-02T03:04:05+00:00",
        licence="Apache-2.0",
        attribution=("nobody",),
        base="random sha256:0",
        teacher="none sha256:0",
        layers=SHAPE.num_hidden_layers,
        dim=SHAPE.hidden_size,
        max_tokens=MAX_TOKENS,
        labels=(
            LabelPart(name="red", group="warm", document_id="red", content_hash="0" * 64),
            *map(_inline, LABELS[1:]),
        ),
        variants={precision: _variant(precision) for precision in PRECISIONS},
        golden=_golden(folder),
        recipe={},
        data={},
        metrics={
            "students": {"2": {"accuracy": 0.9, "per_second": 12345.0}, "1": {"accuracy": 0.8, "per_second": 23456.0}},
            "parity": {
                "questions": 10,
                "reference_difference": 1e-6,
                "agreement": {"int8": 0.999, "fp16": 1.0},
                "packed_drift": {"int8": 0.016, "fp16": 0.001},
                "packed_flips": {"int8": 2, "fp16": 0},
            },
        },
        files=files,
    )
    rewrite(folder, made.model_copy(update=changes))
    certify(folder)
    return folder


def rewrite(folder: Path, manifest: Manifest) -> None:
    (folder / bundles.MANIFEST).write_text(manifest.model_dump_json())


def manifest(folder: Path) -> Manifest:
    return Manifest.model_validate_json((folder / bundles.MANIFEST).read_bytes())


def with_wrong_8_bit(folder: Path) -> None:
    """As on a machine whose 8-bit products saturate: that graph's probabilities are off, the others' are right."""
    now = manifest(folder)
    eight = now.variants["int8"]
    flat = eight.model_copy(update={"calibration": eight.calibration.model_copy(update={"temperature": 50.0})})
    rewrite(folder, now.model_copy(update={"variants": now.variants | {"int8": flat}}))
    certify(folder)


def rehash(folder: Path, name: str) -> None:
    """Vouch for `name` as it lies there now."""
    digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    now = manifest(folder)
    rewrite(folder, now.model_copy(update={"files": now.files | {name: digest}}))


Promised = tuple[float, float]
"""A threshold, and the stricter one for a certificate that is stale."""


def certify(
    folder: Path,
    alone: Promised = (0.8, 0.9),
    informed: Promised = (0.75, 0.85),
    precisions: Sequence[Precision] = PRECISIONS,
) -> None:
    """A certificate that is of the files as they are now, with these thresholds for `precisions`; those that there are
    of others stay."""
    now = manifest(folder)
    made = {
        str(precision): VariantCertificate(
            hashes=bundles.hashes(now, precision),
            alone=_promised(*alone, accepted=300, wrong=6),
            informed=_promised(*informed, accepted=310, wrong=7),
        )
        for precision in precisions
        if precision in now.variants
    }
    before = certificate(folder).variants if NAME in now.files else {}
    write_certificate(
        folder,
        Certificate(
            format=FORMAT,
            created="2026-01-02T03:04:05+00:00",
            method="by hand",
            risk=0.05,
            assurance=0.95,
            oos_share=0.1,
            questions=400,
            outliers=500,
            variants=before | made,
        ),
    )


def certificate(folder: Path) -> Certificate:
    return Certificate.model_validate_json((folder / NAME).read_bytes())


def write_certificate(folder: Path, given: Certificate) -> None:
    (folder / NAME).write_text(given.model_dump_json())
    rehash(folder, NAME)


def insufficient(given: Certificate, which: str, needed: int) -> Certificate:
    """The same with one confidence of the 8-bit graph for which 24 questions showed nothing."""
    eight = given.variants["int8"]
    before = eight.confidences[which]
    nothing = before.operating.model_copy(update={"value": NEVER})
    failed = before.model_copy(update={"operating": nothing, "back_off": nothing, "needed": needed})
    variants = given.variants | {"int8": eight.model_copy(update={which: failed})}
    return given.model_copy(update={"variants": variants, "questions": 24, "outliers": 0})


def _promised(value: float, stricter: float, accepted: int, wrong: int) -> Confidence:
    def threshold(at: float, risk: float) -> Threshold:
        return Threshold(
            value=at,
            risk=risk,
            certified_up_to_oos_share=0.12,
            accepted=accepted,
            wrong=wrong,
            outliers_accepted=1,
            upper_bound=0.0391,
        )

    return Confidence(
        operating=threshold(value, 0.05),
        back_off=threshold(stricter, 0.025),
        risk_by_oos_share=((0.0, 0.03), (0.1, 0.0391)),
        groups={
            "warm": Group(
                is_certified=True,
                certified_up_to_oos_share=0.11,
                accepted=120,
                wrong=0,
                outliers_accepted=0,
                upper_bound=0.03,
            )
        },
        needed=400,
    )


def _outcomes() -> Outcomes:
    """Three hundred of each part in scope, sure of being right but for every tenth, and as many outliers, unsure."""
    count = 300
    right = np.arange(count) % 10 > 0
    labels = np.arange(count) % len(LABELS)
    logits = np.eye(len(LABELS), dtype=np.float32)[np.where(right, labels, (labels + 1) % len(LABELS))]
    sure = np.where(right, 0.9, 0.5).astype(np.float32)
    unsure = np.full(count, 0.1, np.float32)
    nothing = np.full(count, NO_LABEL)
    inside = [outcomes.rows(part, labels, logits, sure, sure) for part in (Part.DEV, Part.CALIBRATE, Part.CERTIFY)]
    outside = [
        outcomes.rows(part, nothing, logits, unsure, unsure) for part in (Part.CALIBRATE, Part.CERTIFY, Part.UNSEEN)
    ]
    return Outcomes(np.concatenate([*inside, *outside]))


def _inline(label: str) -> LabelPart:
    return LabelPart(name=label, text=f"It is {label}.")


def _plain(features: int) -> LogisticPart:
    """The first feature as it is."""
    rest = features - 1
    return LogisticPart(weights=(1, *[0] * rest), bias=0, centre=(0,) * features, scale=(1,) * features)


def _variant(precision: Precision) -> VariantPart:
    return VariantPart(
        graph=f"{precision}.onnx",
        calibration=CalibrationPart(
            temperature=1.0,
            scope_floor=-1.0,
            confidence=ConfidencePart(right=_plain(2), scope=_plain(1), joint=_plain(1)),
            informed=InformedPart(
                confidence=ConfidencePart(right=_plain(2), scope=_plain(1), joint=_plain(1), leading=_plain(3)),
                sharpness=10.0,
                blend=_plain(2),
            ),
            evidence=_plain(3),
        ),
        thresholds=ThresholdsPart(evidence=0.5, ensemble=0.5, ensemble_weight=0.5),
    )


def _golden(folder: Path) -> tuple[GoldenPart, ...]:
    """The three texts of which the fp32 graph is surest."""
    texts = questions(60, seed=9)
    logits, _ = run(folder / "fp32.onnx", Tokenization(folder / "tokenizer.json", MAX_TOKENS).encode_all(texts))
    probabilities = softmax(logits)
    return tuple(
        GoldenPart(
            text=texts[at],
            label=LABELS[int(probabilities[at].argmax())],
            probability=round(float(probabilities[at].max()), 4),
        )
        for at in np.argsort(-probabilities.max(axis=1))[:3]
    )
