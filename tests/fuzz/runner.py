"""Inputs for one target, one after the other, the same ones for the same seed."""

from __future__ import annotations

import hashlib
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from tests.fuzz.mutation import mutated

MOST = 20
"""Findings that are kept: after so many there is something to mend first."""


class Target(Protocol):
    """Whole inputs, and what comes of one that may be anything: it raises for what must not be."""

    def corpus(self, chance: random.Random) -> bytes: ...

    def run(self, data: bytes) -> str: ...

    def close(self) -> None: ...


@dataclass(slots=True)
class Result:
    """`findings`: files with the inputs, each with what was wrong."""

    name: str
    inputs: int = 0
    seconds: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter)
    findings: list[tuple[Path, str]] = field(default_factory=list)


def fuzzed(name: str, target: Target, runs: int, seed: int, folder: Path) -> Result:
    """Whatever is raised is a finding, kept in `folder`."""
    chance, result, started = random.Random(f"{name} {seed}"), Result(name), time.monotonic()
    try:
        for _ in range(runs):
            data = mutated(target.corpus(chance), chance)
            result.inputs += 1
            try:
                result.outcomes[target.run(data)] += 1
            except Exception as error:  # noqa: BLE001 - that is what is looked for
                folder.mkdir(parents=True, exist_ok=True)
                path = folder / f"{name}-{hashlib.sha256(data).hexdigest()[:12]}"
                path.write_bytes(data)
                result.findings.append((path, f"{type(error).__name__}: {str(error)[:300]}"))
                if len(result.findings) >= MOST:
                    break
    finally:
        target.close()
    result.seconds = time.monotonic() - started
    return result
