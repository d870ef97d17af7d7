"""The model tier: one bundle loaded, warmed, and answering through a batcher."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gateway.cascade.cascade import Profile
from gateway.deadline import Deadline
from gateway.model.batcher import Batcher, Limits
from gateway.model.bundle import Bundle, Precision
from gateway.model.packing import Tokenization
from gateway.model.session import Device, open_session
from gateway.types import Prediction

WARM_LENGTHS = (4, 8, 16, 32, 64, 128)
EMBED_TOKENS = 256
"""Tokens in one pass when many texts are embedded: longer rows lose to the square attention mask."""


class Engine:
    """Tokenises on the caller's thread (about 50 us), infers on the batcher's."""

    def __init__(
        self,
        bundle: Bundle,
        device: Device = "auto",
        threads: int = 1,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        precision: Precision | None = None,
    ) -> None:
        """Loads, checks and warms; `precision` None takes the device's own. Raises BundleInvalid, DeviceUnavailable."""
        self.bundle = bundle
        self._tokenization = Tokenization(bundle.path("tokenizer.json"), bundle.manifest.max_tokens)
        self._session = open_session(bundle, self._tokenization, device, threads, precision)
        if self._session.runs_alone:  # a batch would only make its first question wait for its last
            limits = replace(limits, questions=1)
        self._batcher = Batcher(self._session.run, limits)
        self._warm()

    @property
    def precision(self) -> Precision:
        return self._session.precision

    @property
    def provider(self) -> str:
        return self._session.provider

    @property
    def waiting(self) -> int:
        """Questions in the queue now. From any thread."""
        return self._batcher.waiting

    def profile(self) -> Profile:
        return self.bundle.profile(self.precision)

    def start(self) -> None:
        """Begin to take questions, on the running event loop."""
        self._batcher.start()

    async def stop(self) -> None:
        await self._batcher.stop()

    async def predict(self, text: str, deadline: Deadline) -> Prediction:
        """See `cascade.tiers.ModelTier`."""
        started = time.perf_counter()
        tokens = self._tokenization.encode(text)
        tokenize = time.perf_counter() - started
        prediction = await self._batcher.submit(tokens, deadline)
        return replace(prediction, timings={"tokenize": tokenize} | prediction.timings)

    def outputs(self, texts: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(logits [texts, labels], unit embeddings [texts, dim]), computed here and now, off the serving path."""
        questions = self._tokenization.encode_all(texts)
        order = sorted(range(len(questions)), key=lambda at: len(questions[at]))
        logits = np.empty((len(texts), len(self.bundle.manifest.labels)), np.float32)
        embeddings = np.empty((len(texts), self.bundle.manifest.dim), np.float32)
        batch: list[int] = []
        for place, at in enumerate(order):
            batch.append(at)
            following = len(questions[order[place + 1]]) if place + 1 < len(order) else EMBED_TOKENS
            if sum(len(questions[one]) for one in batch) + following > EMBED_TOKENS or place + 1 == len(order):
                logits[batch], embeddings[batch] = self._session.run([questions[one] for one in batch])
                batch = []
        return logits, embeddings

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit embeddings [texts, dim]."""
        return self.outputs(texts)[1]

    def _warm(self) -> None:
        """The first pass of each length allocates; better now than under a deadline."""
        for length in WARM_LENGTHS:
            self._session.run([[0] * min(length, self.bundle.manifest.max_tokens)])
