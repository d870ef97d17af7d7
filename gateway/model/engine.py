"""The model tier: one bundle loaded, warmed, and answering through a batcher."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gateway.cascade.cascade import Profile
from gateway.deadline import Deadline
from gateway.model.batcher import Batcher
from gateway.model.bundle import Bundle, Precision
from gateway.model.cost import CostTable
from gateway.model.packing import Tokenization
from gateway.model.schedule import Limits
from gateway.model.session import Device, open_session
from gateway.types import Forecast, Prediction, Workload

WARM_LENGTHS = (4, 8, 16, 32, 64, 128)
BATCH_SIZES = tuple(2**power for power in range(8, 17))
"""Tokens of batches that are warmed beside a full one."""
WARM_PASSES = 3
"""Of each length: the first one allocates, and the fastest of the others says what it costs."""
CHARACTERS_PER_TOKEN = 4.0
"""A guess for questions that are not tokenised yet; the queue itself counts tokens."""
SPECIAL_TOKENS = 2
COMMON_TOKENS = 16
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
        limits = replace(limits, is_alike=self._session.keeps_apart)
        if self._session.runs_alone:  # a batch would only make its first question wait for its last
            limits = replace(limits, questions=1)
        self._batcher = Batcher(self._session.run, CostTable(self._warm(limits)), limits)

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

    def workload(self) -> Workload:
        """From any thread."""
        return self._batcher.workload()

    def forecast(self, characters: int, tenant: str, deadline: Deadline) -> Forecast:
        """See `rpc.service.Gateway`."""
        tokens = min(int(characters / CHARACTERS_PER_TOKEN) + SPECIAL_TOKENS, self.bundle.manifest.max_tokens)
        return self._batcher.forecast(tokens, tenant, deadline)

    def profile(self) -> Profile:
        return self.bundle.profile(self.precision)

    def start(self) -> None:
        """Begin to take questions, on the running event loop."""
        self._batcher.start()

    async def stop(self) -> None:
        await self._batcher.stop()

    async def predict(self, text: str, deadline: Deadline, tenant: str = "default") -> Prediction:
        """See `cascade.tiers.ModelTier`."""
        started = time.perf_counter()
        tokens = self._tokenization.encode(text)
        tokenize = time.perf_counter() - started
        prediction = await self._batcher.submit(tokens, deadline, tenant)
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

    def _warm(self, limits: Limits) -> dict[int, float]:
        """Seconds of a pass by its tokens, up to a full batch. The first pass of each size allocates; better now than
        under a deadline."""
        longest = self.bundle.manifest.max_tokens
        sizes = {min(length, longest) for length in WARM_LENGTHS}
        if limits.questions > 1:
            sizes |= {size for size in BATCH_SIZES if size < limits.tokens} | {limits.tokens}
        return {size: self._seconds(size, longest) for size in sizes}

    def _seconds(self, tokens: int, longest: int) -> float:
        """Of a pass with so many tokens, at its best."""
        # A larger batch is one of many short questions, as most are.
        each = longest if tokens <= longest else min(longest, COMMON_TOKENS)
        questions = [[0] * min(each, tokens - at) for at in range(0, tokens, each)]
        taken = []
        for _ in range(WARM_PASSES):
            started = time.perf_counter()
            self._session.run(questions)
            taken.append(time.perf_counter() - started)
        return min(taken[1:])
