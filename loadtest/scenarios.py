"""Scenarios: what is asked, when and by whom, read from TOML and checked before anything is sent."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from loadtest import arrivals

SHIPPED = Path(__file__).parent / "scenarios"

Seconds = Annotated[float, Field(gt=0, le=86_400)]
Rate = Annotated[float, Field(ge=0, le=1_000_000)]
SWAP = "swap"
DRAIN = "drain"
Criticality = Literal["critical-plus", "critical", "sheddable-plus", "sheddable"]


class ScenarioInvalid(ValueError):
    """A scenario that does not exist, is no TOML or does not fit the schema; the message names the file and the key."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class PiecePart(_Part):
    """A stretch of time whose rate goes evenly from `rate` to `end_rate`; without that, it stays."""

    seconds: Seconds
    rate: Rate
    """In the scenario's unit."""
    end_rate: Rate | None = None

    def scaled(self, factor: float) -> arrivals.Piece:
        end = None if self.end_rate is None else factor * self.end_rate
        return arrivals.Piece(self.seconds, factor * self.rate, end)


class LoadPart(_Part):
    """A stream of questions of one kind of caller. Loads run beside each other, and are counted each for itself."""

    name: Annotated[str, Field(min_length=1, max_length=40)]
    start_seconds: Annotated[float, Field(ge=0, le=86_400)] = 0.0
    """How long after the start of the run its first piece begins."""
    process: arrivals.Process = "poisson"
    pieces: tuple[PiecePart, ...] = ()
    trace: str = ""
    """Instead of pieces: a file of recorded arrivals, relative to the scenario's."""
    timeout_ms: Annotated[int, Field(ge=1, le=60_000)] = 200
    """The deadline of each call."""
    tenant: str = ""
    criticality: Criticality | None = None

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        if bool(self.pieces) == bool(self.trace):
            raise ValueError("needs either pieces or a trace")
        return self

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        pairs = (("x-tenant", self.tenant), ("x-criticality", self.criticality or ""))
        return tuple((name, value) for name, value in pairs if value)


class EventPart(_Part):
    """Something that is done to the server while the load goes on."""

    at: Annotated[float, Field(gt=0, le=86_400)]
    """Seconds after the start of the run."""
    do: Literal["swap", "drain"]
    """swap: another bundle takes the place of the one that serves. drain: SIGTERM, so that the server is gone."""


class Scenario(_Part):
    """Everything about a run but the server, the questions and the machine."""

    name: str = ""
    """That of the file."""
    summary: Annotated[str, Field(min_length=1)]
    unit: Literal["per_second", "capacity"] = "per_second"
    """What a rate counts: questions a second, or multiples of the server's capacity."""
    target_ms: Annotated[float, Field(gt=0)] = 50.0
    """An OK answer is good if it took no longer, from its intended start."""
    warmup_seconds: Annotated[float, Field(ge=0, le=3600)] = 5.0
    """What is asked in them is left out of the result."""
    channels: Annotated[int, Field(ge=1, le=256)] = 4
    """Connections. A server takes perhaps 256 calls at once on each; more wait in the client."""
    max_outstanding: Annotated[int, Field(ge=1, le=1_000_000)] = 20_000
    """Calls waiting for an answer. What would exceed it is not sent, and the run is invalid."""
    seed: int = 7
    load: Annotated[tuple[LoadPart, ...], Field(min_length=1, max_length=32)]
    events: Annotated[tuple[EventPart, ...], Field(max_length=8)] = ()
    """In the order of their times."""
    folder: Path = SHIPPED
    """Where it was read from."""

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        names = [load.name for load in self.load]
        if len(set(names)) < len(names):
            raise ValueError("two loads have the same name")
        if self.unit == "capacity" and any(load.trace for load in self.load):
            raise ValueError('a trace has its own times: it cannot be scaled to a capacity (unit = "capacity")')
        return self

    @model_validator(mode="after")
    def _events_can_be_judged(self) -> Self:
        times = [event.at for event in self.events]
        if times != sorted(times) or (times and times[0] <= self.warmup_seconds):
            raise ValueError("events come in the order of their times, after the warm-up")
        if DRAIN in [event.do for event in self.events[:-1]]:
            raise ValueError("nothing can happen to a server after its drain")
        return self


def read(name: str) -> Scenario:
    """The scenario in the TOML file `name`, or the shipped one of that name. Raises ScenarioInvalid."""
    path = Path(name) if name.endswith(".toml") else SHIPPED / f"{name}.toml"
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ScenarioInvalid(f"{name}: no such scenario; there are {', '.join(shipped())}, or name a file") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ScenarioInvalid(f"{path}: {error}") from None
    try:
        return Scenario.model_validate({"name": path.stem, "folder": path.parent} | found)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the scenario"
        raise ScenarioInvalid(f"{path}: {where}: {first['msg'].removeprefix('Value error, ')}") from None


def shipped() -> list[str]:
    return sorted(path.stem for path in SHIPPED.glob("*.toml"))


def steady(rate: float, seconds: float, timeout_ms: int, **settings: object) -> Scenario:
    """One load at one rate, in questions a second: what a search for the capacity asks. `settings` are Scenario's."""
    load = LoadPart(name="all", pieces=(PiecePart(seconds=seconds, rate=rate),), timeout_ms=timeout_ms)
    return Scenario.model_validate({"name": "steady", "summary": f"{rate:g}/s", "load": (load,)} | settings)
