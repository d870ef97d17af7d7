"""Everything that one run found: its numbers for people, and all of it to JSON and back."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Self

from loadtest import events, summary
from loadtest.admin import Tokens
from loadtest.events import Happened
from loadtest.honesty import Limits, Observed
from loadtest.recorder import Recorder


@dataclass(frozen=True, slots=True)
class Sample:
    """What the server had used at a second of the run."""

    second: float
    cpu_seconds: float
    rss_bytes: int


@dataclass(frozen=True, slots=True)
class Run:
    """Everything that one run found."""

    scenario: dict[str, Any]
    server: str
    """What was measured, in words."""
    when: str
    facts: dict[str, Any]
    observed: Observed
    limits: Limits
    faults: tuple[str, ...]
    """Why it is invalid; empty if it is valid."""
    seconds: dict[str, float]
    """For how long each load asked after the warm-up, and all together."""
    recorder: Recorder
    samples: tuple[Sample, ...]
    """From the end of the warm-up to the last answer; empty for a server that we did not start."""
    happened: tuple[Happened, ...] = ()
    tokens: Tokens | None = None
    """Of the run with its warm-up; nothing where there is no admin port to ask."""

    @property
    def is_valid(self) -> bool:
        return not self.faults

    def numbers(self) -> dict[str, Any]:
        """What people read, without histograms."""
        loads = summary.summarise(self.recorder, self.seconds)
        capacity = self.scenario["capacity"]
        for load in loads.values():
            load["good_of_capacity"] = round(load["good_per_second"] / capacity, 4) if capacity else None
        return {
            "kind": "run",
            "valid": self.is_valid,
            "faults": self.faults,
            "scenario": self.scenario["name"],
            "capacity": capacity,
            "questions": self.scenario.get("questions"),
            "question_source": self.scenario.get("question_source"),
            "server": self.server,
            "when": self.when,
            **self.facts,
            "generator": asdict(self.observed),
            "limits": asdict(self.limits),
            "target_ms": round(1e3 * self.recorder.target, 3),
            "loads": loads,
            "server_milliseconds": summary.milliseconds(self.recorder.server),
            "server_use": self.use(loads[summary.ALL]["ok"]),
            "events": events.noticed(self.happened, self.recorder),
            "tokens": asdict(self.tokens) | {"wasted_share": self.tokens.wasted_share} if self.tokens else None,
        }

    def use(self, answered: int) -> dict[str, float | None] | None:
        """What the server's processes took while `answered` questions were answered OK, if we started them."""
        if len(self.samples) < 2:
            return None
        first, last = self.samples[0], self.samples[-1]
        cpu = last.cpu_seconds - first.cpu_seconds
        return {
            "cpu_seconds": round(cpu, 3),
            "cpu_ms_per_answer": round(1e3 * cpu / answered, 4) if answered else None,
            "cores": round(cpu / (last.second - first.second), 3),
            "rss_mb_first": round(first.rss_bytes / 2**20, 1),
            "rss_mb_last": round(last.rss_bytes / 2**20, 1),
            "rss_first_second": round(first.second, 1),
            "rss_ratio": round(last.rss_bytes / first.rss_bytes, 4) if first.rss_bytes else None,
        }

    def to_json(self) -> dict[str, Any]:
        """The numbers, and beside them all that they were made from."""
        return self.numbers() | {
            "full": {
                "scenario": self.scenario,
                "facts": self.facts,
                "seconds": self.seconds,
                "recorder": self.recorder.to_json(),
                "samples": [asdict(sample) for sample in self.samples],
                "happened": [asdict(one) for one in self.happened],
                "tokens": asdict(self.tokens) if self.tokens else None,
            }
        }

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Self:
        """Raises KeyError, TypeError or ValueError for something else than to_json gives."""
        full = found["full"]
        return cls(
            full["scenario"],
            found["server"],
            found["when"],
            full["facts"],
            Observed(**found["generator"]),
            Limits(**found["limits"]),
            tuple(found["faults"]),
            full["seconds"],
            Recorder.from_json(full["recorder"]),
            tuple(Sample(**sample) for sample in full["samples"]),
            tuple(Happened(**one) for one in full["happened"]),
            Tokens(**full["tokens"]) if full["tokens"] else None,
        )
