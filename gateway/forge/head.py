"""A linear head on a bundle's embeddings: a classifier for labels that the bundle does not have.

So scores can be compared on data that no bundle was made for, with the encoder that is there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from gateway.types import Matrix

SCALE = 20.0
"""Unit vectors are stretched by it, so that the solver's steps are of the size of what it looks for."""
RIDGE = 1e-4
STEPS = 100


@dataclass(frozen=True, slots=True)
class Head:
    """`weight` [dim, labels], `bias` [labels]."""

    weight: Matrix
    bias: Matrix

    def __call__(self, embedding: Matrix) -> Matrix:
        """Logits [n, labels] of unit vectors [n, dim]."""
        return np.asarray(embedding @ self.weight + self.bias, np.float32)

    @staticmethod
    def fit(embedding: Matrix, labels: NDArray[np.int64], count: int) -> Head:
        """Multinomial logistic regression with a ridge, by L-BFGS; `labels` [n] are below `count`."""
        stretched = np.asarray(SCALE * embedding, np.float32)
        rows, dim = np.arange(len(labels)), embedding.shape[1]
        wanted = np.zeros((len(labels), count), np.float32)
        wanted[rows, labels] = 1

        def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            at = flat.reshape(dim + 1, count).astype(np.float32)
            logits = stretched @ at[:-1] + at[-1]
            logits -= logits.max(axis=1, keepdims=True)
            powers = np.exp(logits)
            total = powers.sum(axis=1)
            value = float((np.log(total) - logits[rows, labels]).mean() + RIDGE * (at[:-1] ** 2).sum())
            pull = (powers / total[:, None] - wanted) / len(labels)
            slope = np.concatenate([stretched.T @ pull + 2 * RIDGE * at[:-1], pull.sum(axis=0)[None]])
            return value, slope.astype(np.float64).ravel()

        found = minimize(loss, np.zeros((dim + 1) * count), jac=True, method="L-BFGS-B", options={"maxiter": STEPS}).x
        flat = found.reshape(dim + 1, count).astype(np.float32)
        return Head(SCALE * flat[:-1], flat[-1])
