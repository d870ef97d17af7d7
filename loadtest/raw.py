"""The least that the model itself costs: `python -m loadtest.raw BUNDLE COUNT [FILE...]` runs its graph alone.

In a process of its own, one thread, one question at a time in a packed row, tokenised and packed before: what is left
is `session.run`, as CPU time and as latency. Prints JSON.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime

from gateway.model import bundle as bundles
from gateway.model.bundle import Precision
from gateway.model.packing import Tokenization, pack
from loadtest import questions, subjects
from loadtest.processes import ServerFailed

WARM = 200
SEED = 7


@dataclass(frozen=True, slots=True)
class Raw:
    """Of one question."""

    cpu_ms: float
    p50_ms: float
    p99_ms: float


def measured(bundle: Path, texts: Sequence[str], count: int, precision: Precision = "int8") -> Raw:
    """Raises BundleInvalid."""
    loaded = bundles.load(bundle)
    tokenization = Tokenization(loaded.path("tokenizer.json"), loaded.manifest.max_tokens)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    graph = str(loaded.path(loaded.variant(precision).graph))
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    asked = random.Random(SEED).choices(texts, k=WARM + count)  # noqa: S311 - a sample, no secret
    feeds = [pack([tokenization.encode(text)], 0).inputs() for text in asked]
    for feed in feeds[:WARM]:
        session.run(None, feed)
    taken = []
    used = time.process_time()
    for feed in feeds[WARM:]:
        started = time.perf_counter()
        session.run(None, feed)
        taken.append(time.perf_counter() - started)
    used = time.process_time() - used
    p50, p99 = (1e3 * float(np.percentile(taken, percent)) for percent in (50, 99))
    return Raw(round(1e3 * used / count, 4), round(p50, 4), round(p99, 4))


async def apart(bundle: Path, sources: Sequence[Path], count: int, cpus: str = "") -> Raw:
    """The same in a process of its own, on those cores; see `subjects.pinned`. Raises ServerFailed with its words."""
    command = subjects.module("loadtest.raw", str(bundle), str(count), *map(str, sources))
    process = await asyncio.create_subprocess_exec(
        *subjects.pinned(command, cpus), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, words = await process.communicate()
    if process.returncode:
        raise ServerFailed(f"session.run alone ended with {process.returncode}: {words.decode()[-2000:].strip()}")
    return Raw(**json.loads(out))


def main() -> None:
    bundle, count, *sources = sys.argv[1:]
    found = measured(Path(bundle), questions.read([Path(one) for one in sources]).texts, int(count))
    print(json.dumps({"cpu_ms": found.cpu_ms, "p50_ms": found.p50_ms, "p99_ms": found.p99_ms}))


if __name__ == "__main__":
    main()
