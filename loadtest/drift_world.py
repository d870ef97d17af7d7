"""Questions with what the real model makes of them: of the population of the reference, and of others.

None is a test question, and none has trained the model.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gateway.cascade.calibration import PROTOTYPE
from gateway.cascade.cascade import Cascade, Profile
from gateway.cascade.policy import Thresholds
from gateway.deadline import Deadline
from gateway.drifting import reference_of
from gateway.errors import BundleInvalid
from gateway.forge import data as dividing
from gateway.forge import evaluate, recipes, texts
from gateway.forge.evaluate import Case, Replay
from gateway.knowledge.documents import read_folder
from gateway.knowledge.generation import Generation
from gateway.knowledge.library import Library
from gateway.model import bundle as bundles
from gateway.model.engine import Engine
from gateway.telemetry.drift.reference import ROUTES, Reference
from gateway.types import Answer, Prediction, Question, Route

COLLECTION = "banking"
PATIENCE = 3600.0
FAR = ("clinc150/train_val.json", "oos_val")
SHORTEST = 4
"""Letters of a word that may be misspelt."""
MISSPELT = 0.3
"""Of such words."""


@dataclass(frozen=True, slots=True)
class Source:
    """Questions of one kind: their `predictions`, and the `fresh` answers to them, while the certificate holds. Of
    those, and of the answers by the stricter thresholds, `is_right` [2, questions], and `by_model`, whether the model
    gave them."""

    predictions: Sequence[Prediction]
    fresh: Sequence[Answer]
    is_right: NDArray[np.bool_]
    by_model: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.predictions)


@dataclass(frozen=True, slots=True)
class World:
    """`pool`: in-scope questions like the reference's, with their `labels`; `typos` are the same, misspelt. `far` are
    about other things, `near` about intents that the model does not know. The last `unseen` of the pool are not in the
    bundle's own `reference`."""

    profile: Profile
    pool: Source
    labels: NDArray[np.int64]
    typos: Source
    far: Source
    near: Source
    reference: Reference
    unseen: int

    def reference_of(self, rows: NDArray[np.int64]) -> Reference:
        """One of those rows of the pool, made as the forge makes it."""
        model, chosen = self.profile.model, [self.pool.predictions[row] for row in rows]
        logits, embeddings = (np.stack([getattr(one, name) for one in chosen]) for name in ("logits", "embedding"))
        read = model.features(logits, embeddings)
        routes = [self.pool.fresh[row].route for row in rows]
        return Reference.of(
            model.confidence(read),
            read[:, PROTOTYPE],
            np.bincount(logits.argmax(axis=1), minlength=len(self.profile.labels)),
            np.array([routes.count(route) for route in ROUTES]),
            embeddings,
        )


def load(recipe: Path, folder: Path) -> World:
    """Of the recipe's data and the bundle that was made by it. Raises FileNotFoundError, ValueError, GatewayError."""
    wanted = recipes.load(recipe)
    data = dividing.load(wanted)
    bundle = bundles.load(folder)
    engine = Engine(bundle, "cpu", 1)
    reference = reference_of(bundle, engine.precision)
    if reference is None:
        raise BundleInvalid(f"{folder} has no reference to compare with; make it with `gateway forge reference`")
    documents = read_folder(wanted.locate(wanted.knowledge.collection))
    library = Library({COLLECTION: Generation.build(documents, engine.embed)})
    ids = [one.id for one in documents]
    labels = {label.name: label.document_id for label in bundle.manifest.labels}
    numbers = {label.name: number for number, label in enumerate(bundle.manifest.labels)}
    ours = [*data.calibrate, *data.certify, *data.dev]
    inside = evaluate.cases(ours, labels, ids)
    chance = random.Random(wanted.data.seed)  # noqa: S311  # a sample, no secret
    misspelt = [Case(misspell(one.text, chance), one.group, one.label, one.document_id) for one in inside]
    outside = [Case(row.text, "far") for row in texts.read(wanted.locate(FAR[0]), FAR[1])]
    outside += [Case(text, "far") for text in (*data.outliers_calibrate, *data.outliers_certify)]
    profile = engine.profile()

    def source(cases: Sequence[Case]) -> Source:
        return _source(engine, profile, library, cases)

    return World(
        profile=profile,
        pool=source(inside),
        labels=np.array([numbers[row.category] for row in ours]),
        typos=source(misspelt),
        far=source(outside),
        near=source(evaluate.cases(data.unseen, labels, ids)),
        reference=reference,
        unseen=len(data.dev),
    )


def _source(engine: Engine, profile: Profile, library: Library, cases: Sequence[Case]) -> Source:
    deadline = Deadline.after(PATIENCE)
    logits, embeddings = engine.outputs([case.text for case in cases])
    predictions = [Prediction.alone(*pair) for pair in zip(logits, embeddings, strict=True)]

    def answers(thresholds: Thresholds) -> list[Answer]:
        cascade = Cascade(Replay([]), library, replace(profile, thresholds=thresholds))
        return [
            cascade.decide(one, Question(case.text, COLLECTION), deadline)
            for case, one in zip(cases, predictions, strict=True)
        ]

    fresh = profile.thresholds
    stale = profile.back_off.thresholds if profile.back_off else fresh.stricter()
    both = answers(fresh), answers(stale)
    return Source(
        predictions,
        both[0],
        np.array([[evaluate.is_right(*pair) for pair in zip(cases, some, strict=True)] for some in both]),
        np.array([[one.route is Route.MODEL for one in some] for some in both]),
    )


def misspell(text: str, chance: random.Random) -> str:
    """Two letters of a word in the other order, or one left out: in MISSPELT of the longer words."""
    return " ".join(_misspelt(word, chance) if chance.random() < MISSPELT else word for word in text.split(" "))


def _misspelt(word: str, chance: random.Random) -> str:
    if len(word) < SHORTEST:
        return word
    at = chance.randrange(len(word) - 1)
    swaps = chance.random() < 0.5
    return word[:at] + word[at + 1] + (word[at] if swaps else "") + word[at + 2 :]
