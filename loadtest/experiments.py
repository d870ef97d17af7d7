"""The experiments behind the measures: each opens what it needs, runs it, and returns the measures that it can tell.

They share one capacity, found once: that of the gateway that serves, unary, with nothing refused.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from loadtest import peers, raw, scenarios, subjects, trials
from loadtest.measure import measure
from loadtest.peers import HALF, Contender
from loadtest.plan import plan
from loadtest.ports import free_port
from loadtest.processes import ServerFailed
from loadtest.protocols import GATEWAY, STREAM
from loadtest.results import Run
from loadtest.search import Capacity
from loadtest.subjects import Subject, opened
from loadtest.summary import ALL
from loadtest.trials import SearchTerms, Terms, Trial, Watcher, capacity_to_json, judged, run_at

RAW_QUESTIONS = 2000
CHANNELS = 16
"""Of overloads: a server takes a bounded number of calls on each, and what waits in the client is no load."""
MULTIPLES = (2, 5, 10)
WORKERS = (1, 2)
"""In which the gateway contends, each server at its best: the peers have settings too."""


class Lacking(RuntimeError):
    """A measure takes something that was not given; the message names the option."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A measure's value, whether it may be believed, and what it was made from."""

    value: float | None
    load: str
    """In words."""
    numbers: Mapping[str, Any]
    faults: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    lacking: str = ""
    """What it takes and was not given, where the others of its experiment did without."""


Findings = dict[str, Finding]
"""By the names of the measures."""


@dataclass(slots=True)
class Bench:
    """What all experiments are given."""

    terms: Terms
    how: SearchTerms
    watcher: Watcher
    serve: Sequence[str] = ()
    """Arguments of `gateway serve`."""
    sources: Sequence[Path] = ()
    """Of the questions in `terms`; none for the shipped ones."""
    wanted: frozenset[str] = frozenset()
    """Names of measures. An experiment may leave out what only serves others."""
    peers: Path | None = None
    model: Path | None = None
    """What the peers serve."""
    same: Path | None = None
    """The bundle of the same weights."""
    student: Path | None = None
    """A bundle of fewer layers."""
    capacity: float | None = None
    """Questions a second; found when it is first needed."""
    cpus: str = ""
    """Of the servers; see `subjects.on_cpus`."""

    def gateway(self, protocol: str = GATEWAY) -> Subject:
        return subjects.on_cpus(subjects.gateway(self.serve, protocol=protocol), self.cpus)

    @property
    def bundle(self) -> Path:
        return subjects.served_bundle(self.serve)

    async def known_capacity(self) -> float:
        """Raises ServerFailed where no rate passes."""
        if self.capacity is None:
            self.capacity = (await self.searched(self.gateway())).median
        if not self.capacity:
            raise ServerFailed("no rate passes, so there is no capacity to multiply")
        return self.capacity

    async def searched(self, subject: Subject) -> Capacity[Trial]:
        async with opened(subject, self.terms.channels) as server:
            return await trials.find_capacity(server, self.terms, self.watcher, self.how)


async def beside_peers(bench: Bench) -> Findings:
    """The peers in turn, with only those that the wanted measures compare."""
    wanted = bench.wanted & {"capacity-triton", "cpu-triton", "cpu-student", "capacity-mlserver"}
    missing = _missing(bench, wanted)
    if missing.keys() >= wanted:
        raise Lacking(" and ".join(sorted(set(missing.values()))))
    wanted -= missing.keys()
    contenders = _contenders(bench, wanted)
    contenders = [replace(one, subject=subjects.on_cpus(one.subject, bench.cpus)) for one in contenders]
    found = await peers.measured(contenders, bench.terms, bench.how, bench.watcher)
    rates = peers.to_json(found)
    best = {family: peers.best(found.rows, family) for family in ("gateway", "student", "triton", "mlserver")}
    values = {
        "capacity-triton": peers.ratio(best["gateway"][0], best["triton"][0]),
        "cpu-triton": peers.ratio(best["gateway"][1], best["triton"][1]),
        "cpu-student": peers.ratio(best["student"][1], best["triton"][1]),
        "capacity-mlserver": peers.ratio(best["gateway"][0], best["mlserver"][0]),
    }
    servers = [{name: value for name, value in row.items() if name != "trials"} for row in rates["servers"]]
    load = f"searched capacities; CPU at {found.rate:g}/s, half of the lowest"
    faults, warnings = tuple(rates["faults"]), tuple(rates["warnings"])
    taken = {name: Finding(values[name], load, {"servers": servers}, faults, warnings) for name in wanted}
    return taken | {name: Finding(None, "", {}, lacking=option) for name, option in missing.items()}


def _missing(bench: Bench, wanted: frozenset[str]) -> dict[str, str]:
    """Measure -> what it takes and was not given."""
    if bench.peers is None or bench.model is None:
        return dict.fromkeys(wanted, "--peers, the folder of the peers' scripts, and --model-dir, what they serve")
    missing = {}
    if bench.same is None:
        missing = dict.fromkeys(wanted - {"cpu-student"}, "--same-weights, the bundle of the weights in --model-dir")
    if bench.student is None and "cpu-student" in wanted:
        missing["cpu-student"] = "--student, the bundle of a smaller student"
    return missing


def _contenders(bench: Bench, wanted: frozenset[str]) -> list[Contender]:
    assert bench.peers is not None
    assert bench.model is not None
    found = []
    if wanted - {"cpu-student"}:
        found += _gateways("gateway", bench.same, "same weights")
    if "cpu-student" in wanted:
        found += _gateways("student", bench.student, "student")
    if wanted - {"capacity-mlserver"}:
        found += [
            Contender("triton", subjects.triton(bench.peers, bench.model, setting)) for setting in subjects.TRITON
        ]
    if "capacity-mlserver" in wanted:
        found.append(Contender("mlserver", subjects.mlserver(bench.peers, bench.model)))
    return found


def _gateways(family: str, bundle: Path | None, name: str) -> list[Contender]:
    return [
        Contender(
            family,
            subjects.gateway(
                ["--bundle", str(bundle), "--workers", str(workers)],
                f"gateway, {name}, {workers} worker{'s'[: workers - 1]}",
            ),
        )
        for workers in WORKERS
    ]


async def streamed(bench: Bench) -> Findings:
    """The same server asked over streams."""
    unary, stream = await bench.searched(bench.gateway()), await bench.searched(bench.gateway(STREAM))
    both = {"unary": capacity_to_json(unary), "streamed": capacity_to_json(stream)}
    faults = tuple(f"{name}: {fault}" for name, one in both.items() for fault in one["faults"])
    warnings = tuple(f"{name}: {warning}" for name, one in both.items() for warning in one["warnings"])
    numbers = {name: {key: one[key] for key in ("capacity", "spread", "repeats")} for name, one in both.items()}
    ratio = peers.ratio(stream.median, unary.median)
    return {"streamed": Finding(ratio, "searched capacities", numbers, faults, warnings)}


async def own_cost(bench: Bench) -> Findings:
    """At half of the capacity: what the gateway adds to the model and to gRPC, each measured by itself."""
    rate = HALF * await bench.known_capacity()
    port = free_port()
    echo = Subject("bare echo", "echo", f"127.0.0.1:{port}", subjects.module("loadtest.echo", str(port)))
    whole = await _trial(bench, bench.gateway(), rate)
    bare = await _trial(bench, subjects.on_cpus(echo, bench.cpus), rate)
    model = await raw.apart(bench.bundle, bench.sources, RAW_QUESTIONS, bench.cpus)
    floor = None if bare.cpu_ms_per_answer is None else bare.cpu_ms_per_answer + model.cpu_ms
    numbers = {"gateway": asdict(whole), "echo": asdict(bare), "session_run": asdict(model)}
    load, faults = f"{rate:g}/s, half of the capacity", tuple(whole.faults + bare.faults)
    added = None if whole.p99_ms is None else round(whole.p99_ms - model.p99_ms, 3)
    return {
        "cpu-floor": Finding(peers.ratio(whole.cpu_ms_per_answer, floor), load, numbers, faults),
        "added-p99": Finding(added, load, numbers, whole.faults),
    }


async def overload(bench: Bench) -> Findings:
    """The goodput at multiples of the capacity, on one server, one after the other."""
    capacity = await bench.known_capacity()
    terms = replace(bench.terms, channels=CHANNELS)
    points = {}
    async with opened(bench.gateway(), CHANNELS) as server:
        for multiple in MULTIPLES:
            rate = multiple * capacity
            points[multiple] = judged(await run_at(rate, server, terms, bench.watcher), rate)
    found = {}
    for multiple, point in points.items():
        load = f"{point.rate:g}/s, {multiple} x the capacity"
        share = round(point.good_per_second / capacity, 4)
        found[f"goodput-{multiple}x"] = Finding(share, load, asdict(point), point.faults)
    p99 = points[10].p99_ms
    found["p99-10x"] = replace(found["goodput-10x"], value=None if p99 is None else round(p99 / terms.target_ms, 4))
    return found


async def impatient(bench: Bench) -> Findings:
    """Callers who give up after 20 ms, ten times as many as can be answered."""
    run = await _scenario(bench, "impatient")
    numbers = run.numbers()
    share = numbers["tokens"]["wasted_share"] if numbers["tokens"] else None
    return {"wasted": Finding(share, _described(numbers), _of(numbers, "tokens"), run.faults)}


async def swap(bench: Bench) -> Findings:
    """The bundle that serves is loaded once more and takes its own place: all of the work, and no other answers."""
    run = await _scenario(bench, "reload")
    numbers = run.numbers()
    (event,) = numbers["events"]
    before, faults = event["before"], run.faults
    if before["errors"]:
        faults += (
            f"{before['errors']} of {before['offered']} were not answered before the swap: the capacity is less",
        )
    kept, load = _of(numbers, "events"), _described(numbers)
    return {
        "swap-errors": Finding(float(event["window"]["errors"]), load, kept, faults),
        "swap-p99": Finding(event["p99_ratio"], load, kept, faults),
    }


async def soak(bench: Bench) -> Findings:
    """Eleven minutes, of which the first does not count."""
    run = await _scenario(bench, "soak")
    numbers = run.numbers()
    use = numbers["server_use"]
    return {"soak-rss": Finding(use and use["rss_ratio"], _described(numbers), _of(numbers, "server_use"), run.faults)}


async def _trial(bench: Bench, subject: Subject, rate: float) -> Trial:
    async with opened(subject, bench.terms.channels) as server:
        return judged(await run_at(rate, server, bench.terms, bench.watcher), rate)


async def _scenario(bench: Bench, name: str) -> Run:
    scenario = scenarios.read(name)
    capacity = await bench.known_capacity()
    made = plan(scenario, bench.terms.questions.texts, capacity, bench.terms.questions.source)
    async with opened(bench.gateway(), scenario.channels) as server:
        return await measure(
            scenario,
            made,
            server,
            limits=bench.terms.limits,
            bundle=bench.bundle,
            on_second=lambda progress: bench.watcher(f"{name}: {server.subject.name}", progress),
        )


def _described(numbers: dict[str, Any]) -> str:
    whole = numbers["loads"][ALL]
    return f"scenario {numbers['scenario']}: {whole['offered_per_second']:g}/s for {whole['seconds']:g} s"


def _of(numbers: dict[str, Any], name: str) -> dict[str, Any]:
    """What is worth keeping of a run beside the value."""
    whole = numbers["loads"][ALL]
    kept = ("offered", "ok_per_second", "good_share", "lost", "statuses", "milliseconds")
    return {name: numbers[name], "generator": numbers["generator"]} | {key: whole[key] for key in kept}


Experiment = Callable[[Bench], Coroutine[Any, Any, Findings]]

EXPERIMENTS: dict[tuple[str, ...], Experiment] = {
    ("capacity-triton", "cpu-triton", "cpu-student", "capacity-mlserver"): beside_peers,
    ("streamed",): streamed,
    ("cpu-floor", "added-p99"): own_cost,
    ("goodput-2x", "goodput-5x", "goodput-10x", "p99-10x"): overload,
    ("wasted",): impatient,
    ("swap-errors", "swap-p99"): swap,
    ("soak-rss",): soak,
}
"""Which measures each tells, in the order of their table."""
