"""The model tier: one bundle loaded, warmed, and answering through a batcher.

On an accelerator there is a spare beside it, which takes over where the device is lost: the bundle's CPU graph in a
session of its own, warmed as well. That costs the memory of a second session, and the time to warm it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gateway.cascade.cascade import Profile
from gateway.deadline import Deadline
from gateway.errors import DeviceUnavailable
from gateway.model.batcher import Batcher, Run, Spare
from gateway.model.bundle import Bundle, Precision
from gateway.model.cost import CostTable
from gateway.model.packing import NARROWEST, Tokenization, Tokens, bucket
from gateway.model.schedule import Limits
from gateway.model.session import GPU_ROW_TOKENS, Device, Session, open_session
from gateway.model.watch import Watch
from gateway.types import Degradation, Forecast, Prediction, Workload

log = logging.getLogger(__name__)

WARM_LENGTHS = (4, 8, 16, 32, 64, 128)
BATCH_SIZES = tuple(2**power for power in range(8, 17))
"""Tokens of batches that are warmed beside a full one."""
WARM_PASSES = 3
"""Of each length: the first one allocates, and the fastest of the others says what it costs."""
CPU_TOKENS = 192
GPU_TOKENS = 4096
"""Of a full batch, where no limit is set. A guess for a GPU: `loadtest gpu` prints what each budget brings."""
CHARACTERS_PER_TOKEN = 4.0
"""A guess for questions that are not tokenised yet; the queue itself counts tokens."""
SPECIAL_TOKENS = 2
COMMON_TOKENS = 16
EMBED_TOKENS = 256
"""Tokens in one pass on a CPU when many texts are embedded: longer rows lose to the square attention mask."""

INGEST = "knowledge ingest"
"""The tenant of texts that are embedded beside questions: no caller can be of that name."""
INGEST_SECONDS = 120.0
TOGETHER = 32
"""Texts that wait together: enough for full batches, and few beside the questions that there is room for."""

STUCK_SECONDS = 1.0
"""Far longer than a full batch takes on a slow and busy core."""

_given_up: list[Session] = []
"""Never freed: what a lost device makes of it can end the process (onnxruntime#2963)."""


class Engine:
    """Tokenises on the caller's thread (about 50 us), infers on the batcher's."""

    def __init__(
        self,
        bundle: Bundle,
        device: Device = "auto",
        threads: int = 1,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        precision: Precision | None = None,
        has_spare: bool = False,
    ) -> None:
        """Loads, checks and warms. Raises BundleInvalid, DeviceUnavailable.

        `limits.tokens` 0 takes the device's own, as does `precision` None. `has_spare`: with a CPU session beside one
        on an accelerator, if the bundle has a graph that works there; the log says so if not.
        """
        self.bundle = bundle
        self._tokenization = Tokenization(bundle.path("tokenizer.json"), bundle.manifest.max_tokens)
        self._session = open_session(bundle, self._tokenization, device, threads, precision)
        is_accelerated = self._session.device != "cpu"
        self._spare = self._open_spare(threads) if has_spare and is_accelerated else None
        run: Run = Watch(self._session.run, self._probe()) if is_accelerated else self._session.run
        first = self._warmed(self._session, limits)
        spare = None
        if self._spare:
            spare = Spare(self._spare.run, *self._warmed(self._spare, replace(limits, tokens=0)))
        self._batcher = Batcher(run, *first, spare=spare)

    @property
    def session(self) -> Session:
        """The one that answers now."""
        return self._spare if self._spare and self.degraded else self._session

    @property
    def precision(self) -> Precision:
        return self.session.precision

    @property
    def provider(self) -> str:
        return self.session.provider

    @property
    def degraded(self) -> Degradation | None:
        """Why the session that was started first does not answer any more."""
        return self._batcher.degraded

    @property
    def is_up(self) -> bool:
        """Whether any session answers."""
        return self._batcher.is_up

    @property
    def stuck_seconds(self) -> float:
        """For how long the pass that runs now has been running; 0 while none is. From any thread."""
        since = self._batcher.running_since
        return 0.0 if since is None else max(0.0, time.monotonic() - since)

    @property
    def is_stuck(self) -> bool:
        """Whether a pass hangs: who asks now would wait for it until the deadline."""
        return self.stuck_seconds > STUCK_SECONDS

    @property
    def spare(self) -> Session | None:
        """What takes over, or has taken over, where the device is lost."""
        return self._spare

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
        """For the predictions of the session that was started first; those by the spare have its precision's."""
        return self.bundle.profile(self._session.precision)

    def start(self) -> None:
        """Begin to take questions, on the running event loop."""
        self._batcher.start()

    async def stop(self) -> None:
        await self._batcher.stop()
        if self.degraded:
            _given_up.append(self._session)

    async def close(self) -> None:
        """Stop for good: what the sessions hold is free afterwards, whoever still knows this engine."""
        await self.stop()
        if not self.degraded:
            self._session.close()
        if self._spare is not None:
            self._spare.close()

    async def predict(self, text: str, deadline: Deadline, tenant: str = "default") -> Prediction:
        """See `cascade.tiers.ModelTier`."""
        started = time.perf_counter()
        tokens = self._tokenization.encode(text)
        tokenize = time.perf_counter() - started
        return await self._batcher.submit(tokens, deadline, tenant, {"tokenize": tokenize})

    def outputs(
        self, texts: Sequence[str], session: Session | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(logits [texts, labels], unit embeddings [texts, dim]), computed here and now, off the serving path.

        By `session`, which is one of this engine's; the one that was started first if None.
        """
        session = session or self._session
        most = EMBED_TOKENS if session.device == "cpu" else GPU_TOKENS
        questions = self._tokenization.encode_all(texts)
        order = sorted(range(len(questions)), key=lambda at: len(questions[at]))
        logits = np.empty((len(texts), len(self.bundle.manifest.labels)), np.float32)
        embeddings = np.empty((len(texts), self.bundle.manifest.dim), np.float32)
        batch: list[int] = []
        for place, at in enumerate(order):
            batch.append(at)
            following = len(questions[order[place + 1]]) if place + 1 < len(order) else most
            if sum(len(questions[one]) for one in batch) + following > most or place + 1 == len(order):
                logits[batch], embeddings[batch] = session.run([questions[one] for one in batch])
                batch = []
        return logits, embeddings

    def embed(self, texts: Sequence[str], session: Session | None = None) -> NDArray[np.float32]:
        """Unit embeddings [texts, dim]; see `outputs`."""
        return self.outputs(texts, session)[1]

    async def embed_soon(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit embeddings [texts, dim], made beside questions: they wait as those of a tenant of their own, with much
        time, and some at a time."""
        parts = [np.empty((0, self.bundle.manifest.dim), np.float32)]
        for at in range(0, len(texts), TOGETHER):
            some = texts[at : at + TOGETHER]
            made = await asyncio.gather(*(self.predict(text, Deadline.after(INGEST_SECONDS), INGEST) for text in some))
            parts.append(np.stack([one.embedding for one in made]))
        return np.concatenate(parts)

    def _open_spare(self, threads: int) -> Session | None:
        try:
            return open_session(self.bundle, self._tokenization, "cpu", threads)
        except DeviceUnavailable as error:
            log.warning("there is nothing to fall back to if %s is lost: %s", self._session.provider, error)
            return None

    def _probe(self) -> list[Tokens]:
        return [self._tokenization.encode("")]

    def _warmed(self, session: Session, limits: Limits) -> tuple[CostTable, Limits]:
        """What passes cost, up to a full batch, and how large batches are. The first pass of each size allocates;
        better now than under a deadline."""
        longest = self.bundle.manifest.max_tokens
        limits = fitted(limits, session)
        return CostTable({size: _seconds(session, size, longest) for size in _sizes(session, limits, longest)}), limits


def fitted(limits: Limits, session: Session) -> Limits:
    """The limits, with the device's own where they name none."""
    limits = replace(limits, is_alike=session.keeps_apart)
    if session.runs_alone:  # a batch would only make its first question wait for its last
        return replace(limits, tokens=limits.tokens or CPU_TOKENS, questions=1)
    if session.device == "cpu":
        return replace(limits, tokens=limits.tokens or CPU_TOKENS)
    tokens = limits.tokens or GPU_TOKENS
    return replace(limits, tokens=tokens, questions=tokens)  # by tokens alone


def _sizes(session: Session, limits: Limits, longest: int) -> set[int]:
    """Tokens of the passes that are warmed."""
    if session.device != "cpu":
        return _bucket_sizes(limits, longest)
    sizes = {min(length, longest) for length in WARM_LENGTHS}
    if limits.questions > 1:
        sizes |= {size for size in BATCH_SIZES if size < limits.tokens} | {limits.tokens}
    return sizes


def _bucket_sizes(limits: Limits, longest: int) -> set[int]:
    """One for each shape that a batch can have: the widths of a single row, and the numbers of full rows."""
    widths = {width for width in range(NARROWEST, GPU_ROW_TOKENS + 1) if bucket(width) == width}
    # A row is full where the next question does not fit, so it may hold little more than lacks for the longest one.
    least = max(1, GPU_ROW_TOKENS - longest + 1)
    most = bucket(-(-limits.tokens // least))
    return widths | {rows * GPU_ROW_TOKENS for rows in range(1, most + 1) if bucket(rows) == rows}


def _seconds(session: Session, tokens: int, longest: int) -> float:
    """Of a pass with so many tokens, at its best."""
    each = longest
    if session.device != "cpu":
        each = 1 << (longest.bit_length() - 1)  # so that a number of questions fills a row exactly
    elif tokens > longest:  # one of many short questions, as most are
        each = min(longest, COMMON_TOKENS)
    questions = [[0] * min(each, tokens - at) for at in range(0, tokens, each)]
    taken = []
    for _ in range(WARM_PASSES):
        started = time.perf_counter()
        session.run(questions)
        taken.append(time.perf_counter() - started)
    return min(taken[1:])
