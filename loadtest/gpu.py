"""`python -m loadtest.gpu`, also `gateway loadtest gpu`: what one machine with a GPU can do, and what limits it.

First the session alone, by token budget; then whole servers with 1, 4 and 12 workers, asked one call a question and
over streams: their capacity, and latency and power at half of it. Where there is no GPU it says that it has not run,
and so does the result. `--device cpu` takes the same way without one.

How workers share a GPU. Each is a process with a CUDA context, a session and its arena of its own, so memory grows with
their number; all of the bundle's weights are in each of them. Without MPS, NVIDIA's service for that, kernels of
different processes do not run at once but in turns, so workers do not add throughput on the device: they add what
Python can do beside it, which is gRPC, tokenising, searching and deciding, at one core each. One worker's batches also
grow with the load, those of twelve stay small. The column GPU % and the generator's share of a core tell which of the
three was at its end: the device, the workers, or who asked.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import shlex
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import onnxruntime
from rich import box
from rich.console import Console
from rich.table import Table

from gateway.errors import GatewayError
from loadtest import documents, gpu_machine, gpu_raw, honesty, options, search, subjects, trials
from loadtest.gpu_machine import Draw, Meter
from loadtest.honesty import Limits
from loadtest.protocols import GATEWAY, STREAM
from loadtest.several import Generators, generators
from loadtest.trials import SearchTerms, Terms, Trial

NOT_RUN = 3
"""The exit code where there is no GPU: neither a success nor a failure of what would be measured."""
HALF = 0.5
WAYS = ((GATEWAY, "unary"), (STREAM, "streamed"))
DEFAULT_COLLECTION = Path("index/banking")


def _numbers(_: click.Context, __: click.Parameter, text: str) -> tuple[int, ...]:
    """Whole numbers above 0, with commas between them."""
    try:
        found = tuple(int(one) for one in text.split(","))
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a list of whole numbers") from None
    if min(found) < 1:
        raise click.BadParameter("only numbers above 0")
    return found


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured, and how."""

    bundle: Path
    device: str
    serve: tuple[str, ...]
    """More arguments of `gateway serve`."""
    budgets: tuple[int, ...]
    workers: tuple[int, ...]
    raw_seconds: float
    generators: int
    terms: Terms
    how: SearchTerms


@click.command("gpu", short_help="A machine with a GPU: the session alone, and servers on it.")
@click.option("--device", type=click.Choice(["cuda", "cpu"]), default="cuda", show_default=True)
@click.option("--bundle", type=click.Path(path_type=Path), default=Path("models/banking/1"), show_default=True)
@click.option(
    "--questions",
    "sources",
    type=click.Path(path_type=Path),
    multiple=True,
    help="CSV, JSONL or plain lines.  [those that come with the harness]",
)
@click.option("--serve", metavar="ARGS", default="", help="More arguments of `gateway serve`.")
@click.option("--budgets", callback=_numbers, default="256,512,1024,2048,4096,8192,16384", show_default=True)
@click.option("--workers", callback=_numbers, default="1,4,12", show_default=True)
@click.option("--raw-seconds", type=click.FloatRange(min=0, min_open=True), default=3.0, show_default=True)
@click.option(
    "--generators",
    "generator_count",
    type=click.IntRange(1, 64),
    help="Processes that ask.  [a quarter of the cores]",
)
@click.option("--seconds", type=click.FloatRange(min=1), default=10.0, show_default=True, help="Of each run.")
@click.option("--warmup", type=click.FloatRange(min=0), default=2.0, show_default=True, help="Seconds before that.")
@click.option("--target-ms", type=click.FloatRange(min=0, min_open=True), default=10.0, show_default=True)
@click.option("--timeout-ms", type=click.IntRange(1, 60_000), default=200, show_default=True)
@click.option("--channels", type=click.IntRange(1, 256), default=16, show_default=True, help="Of each generator.")
@click.option("--seed", default=7, show_default=True)
@options.given(*options.SEARCH, *options.HONESTY)
@click.option("--out", type=click.Path(path_type=Path), help="Write the whole result to this JSON file.")
@click.option("--json", "is_json", is_flag=True, help="Print JSON.")
def gpu(
    device: str,
    bundle: Path,
    sources: tuple[Path, ...],
    serve: str,
    budgets: tuple[int, ...],
    workers: tuple[int, ...],
    raw_seconds: float,
    generator_count: int | None,
    start: float,
    tolerance: float,
    repeats: int,
    max_late_ms: float,
    max_cpu: float,
    out: Path | None,
    is_json: bool,
    **others: Any,
) -> None:
    """Questions a second by token budget, capacity by workers, p50 and p99 at half of it, and power.

    Exit code 3, and a result that says so, where there is no GPU; 1 if a run is invalid.
    """
    if device == "cuda" and (why := gpu_machine.missing()):
        _say_not_run(why, out, is_json=is_json)
    terms = Terms(options.questions(sources), limits=Limits(max_late_ms, max_cpu), **others)
    count = generator_count or max(1, len(os.sched_getaffinity(0)) // 4)
    how = SearchTerms(start, tolerance, repeats)
    plan = Plan(bundle, device, tuple(shlex.split(serve)), budgets, workers, raw_seconds, count, terms, how)
    try:
        found = options.run(_measured(plan))
    except GatewayError as error:
        raise click.ClickException(str(error)) from None
    options.finish(found, show, out=out, html=None, is_json=is_json)


def _say_not_run(why: str, out: Path | None, *, is_json: bool) -> None:
    found = _heading() | {"has_run": False, "valid": False, "faults": [f"has not run: no GPU: {why}"]}
    if out is not None:
        documents.write(out, found)
    if is_json:
        click.echo(documents.text(found))
    else:
        click.echo(f"has not run: no GPU\n{why}.\nOr take the same way without one: --device cpu")
    sys.exit(NOT_RUN)


def _heading() -> dict[str, Any]:
    return {
        "kind": "gpu",
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        **honesty.facts(),
        "onnxruntime": onnxruntime.__version__,  # of whichever of the two packages is there
    }


async def _measured(plan: Plan) -> dict[str, Any]:
    raw, loaded = await _raw_rows(plan)
    served: list[dict[str, Any]] = []
    with generators(plan.generators) as asking:
        for workers in plan.workers:
            served += await _served_rows(plan, workers, asking)
    return {
        **_heading(),
        "has_run": True,
        "valid": all(not row["faults"] for row in served),
        "faults": [f"{row['name']}: {fault}" for row in served for fault in row["faults"]],
        "warnings": [f"{row['name']}: {warning}" for row in served for warning in row["warnings"]],
        "gpus": gpu_machine.gpus() if plan.device == "cuda" else [],
        "device": plan.device,
        **loaded,
        "serve": list(plan.serve),
        "generators": plan.generators,
        "target_ms": plan.terms.target_ms,
        "timeout_ms": plan.terms.timeout_ms,
        "seconds": plan.terms.seconds,
        "channels": plan.terms.channels,
        "questions": plan.terms.questions.source,
        "raw": raw,
        "served": served,
    }


async def _raw_rows(plan: Plan) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """The session at each budget, and what it runs."""
    rows: list[dict[str, Any]] = []
    loaded: dict[str, str] = {}
    loop = asyncio.get_running_loop()
    for budget in plan.budgets:
        with (
            ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process,
            Meter().running(is_on=plan.device == "cuda") as meter,
        ):
            texts = plan.terms.questions.texts
            what, raw = await loop.run_in_executor(
                process, gpu_raw.measured, plan.bundle, plan.device, texts, budget, plan.raw_seconds
            )
        loaded = asdict(what)
        _progress(f"session, {budget} tokens: {raw.questions_per_second:.0f}/s")
        rows.append({"name": f"session, {budget} tokens", **asdict(raw), **asdict(meter.draw)})
    return rows, loaded


async def _served_rows(plan: Plan, workers: int, asking: Generators) -> list[dict[str, Any]]:
    """A server with so many workers, asked in each of the WAYS."""
    arguments = ("--bundle", str(plan.bundle), "--device", plan.device, "--workers", str(workers), *plan.serve)
    subject = subjects.gateway(arguments)
    async with subjects.opened(subject, channels=workers):
        return [
            await _served_row(plan, f"{workers} worker{'s' * (workers > 1)}, {name}", subject.address, protocol, asking)
            for protocol, name in WAYS
        ]


async def _served_row(plan: Plan, name: str, address: str, protocol: str, asking: Generators) -> dict[str, Any]:
    async def trial(rate: float, repeat: int) -> Trial:
        found = await asking.run_at(rate, address, protocol, plan.terms, repeat)
        _progress(f"{name}, {rate:.0f}/s: {'passed' if found.passed else 'failed'}, p99 {found.p99_ms} ms")
        return found

    how = plan.how
    capacity = trials.capacity_to_json(await search.repeated(trial, how.start, how.tolerance, how.repeats))
    half: Trial | None = None
    draw = Draw()
    if capacity["capacity"]:
        with Meter().running(is_on=plan.device == "cuda") as meter:
            half = await trial(HALF * capacity["capacity"], 0)
        draw = meter.draw
        capacity["faults"] += [f"at half of it: {fault}" for fault in half.faults]
    return {"name": name, "protocol": protocol, **capacity, "half": asdict(half) if half else None, **asdict(draw)}


def _progress(line: str) -> None:
    click.echo(line, err=True)


def show(found: dict[str, Any], console: Console) -> None:
    """One table: the session's passes, and the servers at half of their capacity."""
    console.print(f"[bold]{found['bundle']}, {found['precision']} on {found['provider']}[/]", highlight=False)
    for line in (*found["gpus"], f"{found['processor']}, {found['system']}, commit {found['commit']}, {found['when']}"):
        console.print(line, highlight=False, soft_wrap=True)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, collapse_padding=True)
    table.add_column("", no_wrap=True)
    for name in ("questions/s", "p50 ms", "p99 ms", "GPU %", "W", "GPU MB", "generator"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in found["raw"]:
        table.add_row(
            row["name"], *_cells((row["questions_per_second"], row["p50_ms"], row["p99_ms"])), *_draw(row), ""
        )
    for row in found["served"]:
        half = row["half"] or {"p50_ms": None, "p99_ms": None, "generator_cpu": None}
        cells = _cells((row["capacity"], half["p50_ms"], half["p99_ms"]))
        table.add_row(row["name"], *cells, *_draw(row), _busiest(row["trials"]))
    console.print(table)
    console.print(
        "session: of one pass. Servers: capacity with p99 <= "
        f"{found['target_ms']:g} ms and every question answered; the rest at half of it; generator: most of a core "
        f"that one of {found['generators']} took.",
        highlight=False,
    )


def _draw(row: dict[str, Any]) -> list[str]:
    return _cells((row["utilization"], row["watts"], row["memory_mb"]), digits=0)


def _busiest(trials: Sequence[dict[str, Any]]) -> str:
    return f"{100 * max(trial['generator_cpu'] for trial in trials):.0f} %" if trials else "-"


def _cells(values: Sequence[float | None], digits: int = 2) -> list[str]:
    return ["-" if value is None else f"{value:.{digits}f}" for value in values]


if __name__ == "__main__":
    gpu()
