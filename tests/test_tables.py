"""What `gateway evaluate` prints."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from gateway.cli.tables import show

MACHINE = dict.fromkeys(("bundle", "precision", "provider", "processor", "system", "commit"), "x")


def tally(**share: float) -> dict[str, Any]:
    return {
        "questions": 3,
        "accuracy": 0.91239,
        "wrong_answers": 0.05,
        "abstained": share.get("abstain", 0.0),
        "share": share,
        "accuracy_by_route": dict.fromkeys(share, 1.0),
    }


def shown(ways: dict[str, Any]) -> list[str]:
    console = Console(width=100, file=io.StringIO(), record=True, color_system=None)
    stages = {"total": {"p50": 1.0, "p99": 2.0}}
    show({"machine": MACHINE, "model": {"accuracy": 0.9}, "end_to_end": ways, "milliseconds": stages}, console)
    return console.export_text().splitlines()


def test_the_ways_fit_into_100_columns() -> None:
    full = tally(model=0.612, retrieval=0.2, abstain=0.188)
    blended = tally(ensemble=1.0)
    lines = shown(
        {"retrieval_always": {"in scope": full, "/a/long/path/of/texts.txt": full}, "ensemble": {"all": blended}}
    )
    (header,) = [line for line in lines if "end to end" in line]
    for name in ("end to end, %", "group", "right", "wrong", "abstained", "answered by (right)"):
        assert name in header
    assert max(map(len, lines)) <= 100
    (row,) = [line for line in lines if "in scope" in line]
    for part in ("retrieval always", "91.24", "5.00", "18.80", "model 61.2 (100), retrieval 20.0 (100)"):
        assert part in row
