"""`entrances`: what each way in costs, beside a bare gRPC stub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.console import Console

from loadtest import entrances, options, proof_results
from loadtest.entrances import CLIENT, CROWDED, JSON, STUB, WAYS, Found

CLIENT_AT_MOST, CLIENT_AIM = 0.15, 0.05
JSON_AT_MOST, JSON_AIM = 1.5, 0.7
INFER_AT_LEAST, INFER_AIM = 0.8, 0.95


@click.command("entrances", short_help="What the client, the Open Inference Protocol and JSON cost beside bare gRPC.")
@options.given(options.QUESTIONS)
@click.option("--blocks", type=click.IntRange(min=1), default=40, show_default=True, help="Of calls, by each way.")
@click.option("--calls", type=click.IntRange(min=1), default=50, show_default=True, help="Of each block.")
@click.option("--rounds", type=click.IntRange(min=1), default=10, show_default=True, help="Of the crowd, by two ways.")
@click.option("--seconds", type=click.FloatRange(min=0.1), default=2.0, show_default=True, help="Of each round.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the whole result to this JSON file.")
@click.option("--json", "is_json", is_flag=True, help="Print JSON.")
def entrances_(
    sources: tuple[Path, ...], blocks: int, calls: int, rounds: int, seconds: float, out: Path | None, is_json: bool
) -> None:
    """Starts a gateway and asks it by each way in turn: one question at a time, and then as a crowd of 16.

    Exit code 1 where a measure is missed.
    """
    texts = options.questions(sources).texts
    measured = options.run(entrances.measured(texts, blocks, calls, rounds, seconds))
    numbers = _numbers(measured)
    settings = {"blocks": blocks, "calls": calls, "rounds": rounds, "seconds": seconds}
    options.finish(
        proof_results.result("entrances", _faults(numbers), **settings, **numbers),
        show,
        out=out,
        html=None,
        is_json=is_json,
    )


def _numbers(found: Found) -> dict[str, Any]:
    rows = {
        way: {"p50_ms": round(found.p50(way), 3), "own_cpu_ms": round(found.cpu(way), 3)}
        | ({"per_second": round(sum(found.rates[way]) / len(found.rates[way]), 1)} if way in CROWDED else {})
        | ({"server_cpu_ms": round(found.server(way), 3)} if way in CROWDED else {})
        for way in WAYS
    }
    return {
        "ways": rows,
        "client_overhead": round(found.p50(CLIENT) / found.p50(STUB) - 1, 4),
        "client_cpu_overhead": round(found.cpu(CLIENT) / found.cpu(STUB) - 1, 4),
        "json_added_ms": round(found.p50(JSON) - found.p50(STUB), 3),
        "inference_capacity": round(found.capacity(), 3),
    }


def _faults(numbers: dict[str, Any]) -> list[str]:
    faults = []
    if numbers["client_overhead"] > CLIENT_AT_MOST:
        faults.append(f"the client adds {numbers['client_overhead']:.1%} to a bare stub, at most {CLIENT_AT_MOST:.0%}")
    if numbers["json_added_ms"] > JSON_AT_MOST:
        faults.append(f"JSON adds {numbers['json_added_ms']:.2f} ms, at most {JSON_AT_MOST:g}")
    if numbers["inference_capacity"] < INFER_AT_LEAST:
        faults.append(
            f"ModelInfer has {numbers['inference_capacity']:.2f} of the capacity, at least {INFER_AT_LEAST:g}"
        )
    return faults


def show(found: dict[str, Any], console: Console) -> None:
    rows = [
        (
            WAYS[way],
            f"{one['p50_ms']:.2f}",
            f"{one['own_cpu_ms']:.2f}",
            str(one.get("per_second", "")),
            str(one.get("server_cpu_ms", "")),
        )
        for way, one in found["ways"].items()
    ]
    headings = ("one at a time, then 16 at once", "p50, ms", "caller's CPU, ms", "a second", "server's CPU, ms")
    proof_results.show(found, console, headings, rows)
    client, cpu, infer = (found[name] for name in ("client_overhead", "client_cpu_overhead", "inference_capacity"))
    lines = (
        f"the client adds {client:+.1%} to a bare stub (at most {CLIENT_AT_MOST:.0%}, aim {CLIENT_AIM:.0%})",
        f"and {cpu:+.1%} of its CPU",
        f"JSON adds {found['json_added_ms']:+.2f} ms (at most {JSON_AT_MOST:g}, aim {JSON_AIM:g})",
        f"ModelInfer has {infer:.2f} of Answer's capacity (at least {INFER_AT_LEAST:g}, aim {INFER_AIM:g})",
    )
    for line in lines:
        console.print(line, highlight=False)
