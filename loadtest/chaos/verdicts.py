"""What a fault test is, what it is given, and what it found."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

Value = TypeVar("Value")


class Lacking(RuntimeError):
    """A test takes something that this machine does not have; the message says what."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What every test is given. `folder` is empty, and its own."""

    folder: Path
    is_short: bool = False
    judges_time: bool = True
    """Off where others work on the same cores: then no number of seconds fails a test, and it says so."""
    seed: int = 7
    soak_minutes: float = 30.0
    """Of the long form."""

    def of(self, short: Value, long: Value) -> Value:
        """The one for this form of the test."""
        return short if self.is_short else long


@dataclass(slots=True)
class Verdict:
    """What one test has seen. It passed where there are no `faults`; `unjudged` are the parts of its criterion that
    were not held against anything here, with the reason."""

    seen: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    unjudged: list[str] = field(default_factory=list)

    def saw(self, text: str) -> None:
        self.seen.append(text)

    def check(self, holds: bool, otherwise: str) -> None:
        """A fault, in words, unless it `holds`."""
        if not holds:
            self.faults.append(otherwise)

    def check_time(self, terms: Terms, holds: bool, otherwise: str) -> None:
        """As `check`, of a duration: only where durations are judged."""
        if terms.judges_time:
            self.check(holds, otherwise)
        elif "durations" not in self.unjudged:
            self.unjudged.append("durations")


@dataclass(frozen=True, slots=True)
class FaultTest:
    """One line of the table. `run` raises Lacking where the machine has not what it takes."""

    number: int
    name: str
    criterion: str
    run: Callable[[Terms], Awaitable[Verdict]]
