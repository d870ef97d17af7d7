"""When questions start: schedules of intended times, made before a run and changed by nothing that is answered.

A rate is in questions a second, a time in seconds from the start of the run. A schedule is a float64 array, ascending.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Times = npt.NDArray[np.float64]
Process = Literal["constant", "poisson"]


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of time whose rate goes evenly from `rate` to `end_rate`; without that, it stays."""

    seconds: float
    rate: float
    end_rate: float | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.seconds) and self.seconds > 0):
            raise ValueError(f"a piece lasts {self.seconds} s: must be above 0")
        for rate in (self.rate, self.last_rate):
            if not (math.isfinite(rate) and rate >= 0):
                raise ValueError(f"a rate of {rate}/s: must be 0 or more")

    @property
    def last_rate(self) -> float:
        return self.rate if self.end_rate is None else self.end_rate

    @property
    def expected(self) -> float:
        """How many questions it holds on average."""
        return self.seconds * (self.rate + self.last_rate) / 2


def steps(rates: Iterable[float], seconds: float) -> tuple[Piece, ...]:
    """Each rate for so long, one after the other."""
    return tuple(Piece(seconds, rate) for rate in rates)


def ramp(rate: float, end_rate: float, seconds: float) -> tuple[Piece, ...]:
    """Evenly from one rate to the other."""
    return (Piece(seconds, rate, end_rate),)


def spike(rate: float, peak: float, before: float, during: float, after: float) -> tuple[Piece, ...]:
    """`rate`, for `during` seconds `peak`, and `rate` again."""
    return Piece(before, rate), Piece(during, peak), Piece(after, rate)


def schedule(pieces: Sequence[Piece], process: Process, seed: int) -> Times:
    """The times of a whole run of `pieces`, within [0, the sum of their seconds).

    `constant` spaces questions evenly wherever the rate is; `poisson` draws them independently, as callers who know
    nothing of each other ask, and gives the same times for the same seed.
    """
    total = sum(piece.expected for piece in pieces)
    if process == "constant":
        marks = np.arange(math.ceil(total - 1e-9), dtype=np.float64)
    else:
        chance = np.random.default_rng(seed)
        # Given how many there are, the events of a Poisson process are independent and uniform.
        marks = np.sort(chance.uniform(0, total, chance.poisson(total)))
    return _times(pieces, marks)


def constant(rate: float, seconds: float) -> Times:
    """Every 1 / rate seconds, from 0."""
    return schedule((Piece(seconds, rate),), "constant", 0)


def poisson(rate: float, seconds: float, seed: int) -> Times:
    """On average `rate` a second, independently of each other."""
    return schedule((Piece(seconds, rate),), "poisson", seed)


def trace(lines: Iterable[str]) -> Times:
    """Recorded arrivals, one a line: seconds (offsets or since the epoch) or ISO 8601 times. The first becomes 0.

    Blank lines and what follows a "#" are skipped; the order does not matter. Raises ValueError with the line's number.
    """
    found: list[float] = []
    for number, line in enumerate(lines, 1):
        text = line.partition("#")[0].strip()
        if text:
            found.append(_instant(text, number))
    if not found:
        raise ValueError("holds no arrivals")
    times = np.sort(np.asarray(found, np.float64))
    return np.asarray(times - times[0], np.float64)


def _instant(text: str, number: int) -> float:
    try:
        instant = float(text)
    except ValueError:
        try:
            instant = datetime.fromisoformat(text).timestamp()
        except ValueError:
            raise ValueError(f"line {number}: {text!r} is neither seconds nor an ISO 8601 time") from None
    if not math.isfinite(instant):
        raise ValueError(f"line {number}: {text!r} is not a time")
    return instant


def _times(pieces: Sequence[Piece], marks: Times) -> Times:
    """Where the number of questions expected so far reaches each mark: the inverse of the rate's integral."""
    times = np.empty_like(marks)
    began, before = 0.0, 0.0
    for piece in pieces:
        inside = slice(*np.searchsorted(marks, (before, before + piece.expected)))
        times[inside] = began + _within(piece, marks[inside] - before)
        began, before = began + piece.seconds, before + piece.expected
    # Rounding may put a last mark on the end of all pieces, which is outside.
    times[np.searchsorted(marks, before) :] = np.nextafter(began, 0)
    return np.asarray(np.minimum(times, np.nextafter(began, 0)), np.float64)


def _within(piece: Piece, expected: npt.NDArray[Any]) -> Times:
    """Seconds into the piece after which so many questions are expected: the root of slope t^2 / 2 + rate t."""
    slope = (piece.last_rate - piece.rate) / piece.seconds
    root = np.sqrt(np.maximum(piece.rate**2 + 2 * slope * expected, 0))
    # This form of the root loses no digits as the slope goes to 0; 0 / 0 is the very start of a rise from nothing.
    divisor = np.maximum(piece.rate + root, np.finfo(np.float64).tiny)
    return np.asarray(np.minimum(2 * expected / divisor, piece.seconds), np.float64)
