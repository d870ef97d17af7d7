"""The gateway beside the servers that people would take instead: same model, questions, client and machine."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from loadtest import trials
from loadtest.processes import ServerFailed
from loadtest.search import Capacity
from loadtest.subjects import NotAnswering, Opened, Subject, opened
from loadtest.trials import SearchTerms, Terms, Trial, Watcher

T = TypeVar("T")

HALF = 0.5
"""Of the lowest capacity: the rate at which CPU time is compared, which every server can do with ease."""


@dataclass(frozen=True, slots=True)
class Contender:
    """One server in one setting. `family` is gateway, triton or mlserver."""

    family: str
    subject: Subject


@dataclass(frozen=True, slots=True)
class Row:
    """What one contender came to."""

    family: str
    name: str
    capacity: Capacity[Trial]
    half: Trial | None
    """Its run at half of the lowest capacity, if it got so far."""


@dataclass(frozen=True, slots=True)
class Measured:
    """All that was found out."""

    rows: tuple[Row, ...]
    rate: float
    """Of the runs at half of the lowest capacity, in questions a second."""
    failures: tuple[str, ...]
    """Servers that did not start, or ended by themselves: the measurement of the others, an hour perhaps, is kept."""


async def measured(contenders: Sequence[Contender], terms: Terms, how: SearchTerms, watcher: Watcher) -> Measured:
    """Each contender is started alone, searched and stopped; then each again, for its CPU time at the same rate."""
    failures: list[str] = []

    async def alone(contender: Contender, work: Callable[[Opened], Awaitable[T]]) -> T | None:
        try:
            async with opened(contender.subject, terms.channels) as server:
                return await work(server)
        except (ServerFailed, NotAnswering) as error:
            failures.append(f"{contender.subject.name}: {error}")
            return None

    async def search(server: Opened) -> Capacity[Trial]:
        return await trials.find_capacity(server, terms, watcher, how)

    async def half(server: Opened) -> Trial:
        return trials.judged(await trials.run_at(rate, server, terms, watcher), rate)

    found = [(contender, await alone(contender, search)) for contender in contenders]
    searched = [(contender, capacity) for contender, capacity in found if capacity is not None]
    rate = half_of_lowest([capacity.median for _, capacity in searched])
    rows = [
        Row(contender.family, contender.subject.name, capacity, await alone(contender, half))
        for contender, capacity in searched
    ]
    return Measured(tuple(rows), rate, tuple(failures))


def half_of_lowest(capacities: Sequence[float]) -> float:
    """Of those that have any: a server that answers nothing in time is named, and does not end the measurement."""
    return HALF * min((capacity for capacity in capacities if capacity), default=2.0)


def best(rows: Sequence[Row], family: str) -> tuple[float | None, float | None]:
    """(highest capacity, least CPU milliseconds an answer) of all its settings, each at its own best: a peer that was
    set up badly is no measure."""
    ours = [row for row in rows if row.family == family]
    cpu = [used for row in ours if (used := _cpu(row)) is not None]
    return max((row.capacity.median for row in ours), default=None), min(cpu, default=None)


def to_json(measured: Measured) -> dict[str, Any]:
    """The table, the ratios (ours to theirs), and whether they may be believed."""
    rows = measured.rows
    capacity, cpu = best(rows, "gateway")
    triton_capacity, triton_cpu = best(rows, "triton")
    mlserver_capacity, mlserver_cpu = best(rows, "mlserver")
    found = {row.name: trials.capacity_to_json(row.capacity) for row in rows}
    faults = [*measured.failures]
    faults += [f"{name}: {fault}" for name, one in found.items() for fault in one["faults"]]
    faults += [f"{row.name}, at half load: {fault}" for row in rows if row.half for fault in row.half.faults]
    return {
        "valid": not faults,
        "faults": faults,
        "warnings": [f"{name}: {warning}" for name, one in found.items() for warning in one["warnings"]],
        "cpu_rate": round(measured.rate, 2),
        "capacity_ratio_triton": ratio(capacity, triton_capacity),
        "cpu_ratio_triton": ratio(cpu, triton_cpu),
        "capacity_ratio_mlserver": ratio(capacity, mlserver_capacity),
        "cpu_ratio_mlserver": ratio(cpu, mlserver_cpu),
        "servers": [
            {
                "name": row.name,
                "family": row.family,
                "capacity": found[row.name]["capacity"],
                "spread": found[row.name]["spread"],
                "repeats": found[row.name]["repeats"],
                "cpu_ms_per_answer": _cpu(row),
                "p50_ms": row.half.p50_ms if row.half else None,
                "p99_ms": row.half.p99_ms if row.half else None,
                "capacity_to_gateway": ratio(row.capacity.median, capacity),
                "cpu_to_gateway": ratio(_cpu(row), cpu),
                "trials": found[row.name]["trials"],
            }
            for row in rows
        ],
    }


def _cpu(row: Row) -> float | None:
    return row.half.cpu_ms_per_answer if row.half else None


def ratio(value: float | None, base: float | None) -> float | None:
    """Nothing where one of them is unknown or the base is 0."""
    return round(value / base, 4) if value is not None and base else None
