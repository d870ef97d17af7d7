"""What questions were like when the certificate was made, in one small file of the bundle, for each precision."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.telemetry.drift.comparisons import Counts
from gateway.telemetry.drift.conformal import edges_of
from gateway.telemetry.drift.embedding import EmbeddingReference, Matrix
from gateway.types import Route

Values = NDArray[np.float64]

FORMAT = 1
LEAST = 30
"""Questions: with fewer nothing can be told from chance."""
DECILES = 10
ROUTES = tuple(Route)


@dataclass(frozen=True, slots=True)
class ScoreReference:
    """Of one score: the reference's `values`, sorted; inner `edges` of the bins that conformal p-values are counted in,
    and `deciles` for the stability index."""

    values: Values
    edges: Values
    deciles: Values

    @classmethod
    def of(cls, scores: Values) -> ScoreReference:
        values = np.sort(scores)
        return cls(values, edges_of(values), np.unique(np.quantile(values, np.linspace(0, 1, DECILES + 1)[1:-1])))

    def bins(self, scores: Values) -> NDArray[np.int64]:
        """[n]: by `edges`."""
        return np.searchsorted(self.edges, scores, side="right")

    def counts(self) -> Counts:
        return np.bincount(self.bins(self.values), minlength=len(self.edges) + 1)

    def by_decile(self, scores: Values) -> Counts:
        found = np.searchsorted(self.deciles, scores, side="right")
        return np.bincount(found, minlength=len(self.deciles) + 1)


@dataclass(frozen=True, slots=True)
class Reference:
    """Of in-scope questions that trained nothing: how sure the model was of its answers (`confidence`, without a
    search) and how near they were to what it knows (`distance`, the cosine to the nearest prototype of its answer),
    which answers it gave (`labels`, counts [labels]), which `routes` they took in the cascade (counts [ROUTES]), and
    where they lie."""

    confidence: ScoreReference
    distance: ScoreReference
    labels: Counts
    routes: Counts
    embedding: EmbeddingReference

    @property
    def questions(self) -> int:
        return len(self.confidence.values)

    @classmethod
    def of(
        cls,
        confidence: Matrix,
        distance: Matrix,
        labels: Counts,
        routes: Counts,
        embeddings: Matrix,
        seed: int = 0,
    ) -> Reference:
        """From what the model said of each question. ValueError for too few."""
        if len(embeddings) < LEAST:
            raise ValueError(
                f"{len(embeddings)} questions make no reference: it takes {LEAST}, and several hundred to be of use; "
                "raise calibrate or certify in the recipe's [data]"
            )
        return cls(
            ScoreReference.of(np.asarray(confidence, np.float64)),
            ScoreReference.of(np.asarray(distance, np.float64)),
            labels,
            routes,
            EmbeddingReference.of(embeddings, seed),
        )

    def dump(self) -> bytes:
        """The file's content; the same for the same reference."""
        content = io.BytesIO()
        np.savez_compressed(
            content,
            format=np.int64(FORMAT),
            confidence=self.confidence.values.astype(np.float32),
            distance=self.distance.values.astype(np.float32),
            labels=self.labels,
            routes=self.routes,
            frequencies=self.embedding.frequencies,
            mean=self.embedding.mean,
            spectrum=self.embedding.spectrum,
        )
        return content.getvalue()

    @classmethod
    def load(cls, content: bytes, labels: int, dim: int) -> Reference:
        """Of a bundle with so many labels and dimensions. Raises ValueError for anything else than its reference."""
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as file:
                found: dict[str, Any] = {name: file[name] for name in file.files}
        except (zipfile.BadZipFile, OSError, EOFError, ValueError) as error:
            raise ValueError(f"is no archive of arrays: {error}") from None
        _check(found, labels, dim)
        confidence, distance = (found[name].astype(np.float64) for name in ("confidence", "distance"))
        embedding = EmbeddingReference(found["frequencies"], found["mean"], found["spectrum"], len(confidence))
        return cls(
            ScoreReference.of(confidence),
            ScoreReference.of(distance),
            found["labels"],
            found["routes"],
            embedding,
        )


def file_name(precision: str) -> str:
    """In the bundle's folder."""
    return f"drift.{precision}.npz"


def _check(found: dict[str, Any], labels: int, dim: int) -> None:
    if "format" not in found or int(found["format"]) != FORMAT:
        raise ValueError(f"is no reference of format {FORMAT}; make it anew with `gateway forge reference`")
    size = len(found["confidence"]) if "confidence" in found else 0
    each = len(found["mean"]) if "mean" in found else 0
    shapes = {
        "confidence": (size,),
        "distance": (size,),
        "labels": (labels,),
        "routes": (len(ROUTES),),
        "frequencies": (dim, each // 2),
        "mean": (each,),
        "spectrum": (each,),
    }
    for name, shape in shapes.items():
        if name not in found or found[name].shape != shape or not np.isfinite(found[name]).all():
            raise ValueError(f"{name} is not an array of {list(shape)} numbers")
    if size < LEAST:
        raise ValueError(f"{size} questions are fewer than {LEAST}")
