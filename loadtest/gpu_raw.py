"""The session alone: what passes of so many tokens take, without a server around it."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np

from gateway.model import bundle as bundles
from gateway.model.packing import Tokenization, Tokens
from gateway.model.session import Device, open_session

WARM_PASSES = 5
BATCHES = 16
"""Different ones for each budget, in turn: as many questions as fit, of the lengths that there are."""


@dataclass(frozen=True, slots=True)
class Raw:
    """Of one token budget. `questions` is the mean of a pass."""

    budget: int
    questions: float
    questions_per_second: float
    tokens_per_second: float
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Loaded:
    """What the session runs."""

    bundle: str
    precision: str
    provider: str


def measured(bundle: Path, device: str, texts: Sequence[str], budget: int, seconds: float) -> tuple[Loaded, Raw]:
    """Run passes for so long. In a process of its own, so that the device's memory is free again afterwards.

    Raises errors.GatewayError where the bundle or the device does not work.
    """
    loaded = bundles.load(bundle)
    tokenization = Tokenization(loaded.path(bundles.TOKENIZER), loaded.manifest.max_tokens)
    session = open_session(loaded, tokenization, cast(Device, device), threads=1)
    batches = list(itertools.islice(_batches(tokenization.encode_all(texts), budget), BATCHES))
    for batch in batches[:WARM_PASSES] + batches:  # twice at least for some, and once for each shape
        session.run(batch)
    taken, asked, tokens = [], 0, 0
    until = time.perf_counter() + seconds
    for batch in itertools.cycle(batches):
        started = time.perf_counter()
        session.run(batch)
        ended = time.perf_counter()
        taken.append(ended - started)
        asked += len(batch)
        tokens += sum(map(len, batch))
        if ended >= until:
            break
    p50, p99 = (round(1e3 * float(np.percentile(taken, percent)), 3) for percent in (50, 99))
    total = sum(taken)
    return Loaded(loaded.id, session.precision, session.provider), Raw(
        budget, round(asked / len(taken), 1), round(asked / total, 1), round(tokens / total, 1), p50, p99
    )


def _batches(questions: Sequence[Tokens], budget: int) -> Iterator[list[Tokens]]:
    """Without end; at least one question each."""
    chance = random.Random(7)  # noqa: S311 - a sample, no secret
    batch: list[Tokens] = []
    room = budget
    while True:
        one = chance.choice(questions)
        if batch and len(one) > room:
            yield batch
            batch, room = [], budget
        batch.append(one)
        room -= len(one)
