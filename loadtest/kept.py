"""Results that are kept: one small JSON file a measure, and the table of them all in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from loadtest import documents, honesty
from loadtest.documents import NotAResult
from loadtest.experiments import Finding
from loadtest.measures import MEASURES, Measure
from loadtest.trials import Terms

README = "README.md"
OTHERS = (
    "gpu",
    "knowledge",
    "knowledge-peers",
    "leaks",
    "crashes",
    "medquad",
    "fusion",
    "guarantee",
    "drift",
    "flywheel",
    "audit-cost",
    "call-cost",
    "restarts",
    "entrances",
    "scrape-cost",
    "chaos",
)
"""Kinds that are one result each, with tables of their own: of the commands of those names."""
HEAD = """# Results

Written by `gateway loadtest kept` from the JSON files here, which `gateway loadtest prove --out FOLDER` keeps: one for
each measure, in a folder for each machine. Read ratios; absolute numbers are those of the machine and commit over them.
"""
COLUMNS = "| measure | asked | aim | found | | load | p50 / p99 ms |\n|---|---|---|---|---|---|---|\n"
NOTHING = "\nNothing is kept yet.\n"


def document(measure: Measure, finding: Finding, when: str, terms: Terms, cpus: str = "") -> dict[str, Any]:
    """Everything about one measure that was taken."""
    return {
        "kind": "kept",
        "measure": measure.name,
        "what": measure.what,
        "unit": measure.unit,
        "value": finding.value,
        "at_least": measure.at_least,
        "aim": measure.aim,
        "verdict": measure.verdict(finding.value),
        "valid": not finding.faults,
        # A server that failed adds what it printed, and that names folders of the machine.
        "faults": [fault.partition("\n")[0] for fault in finding.faults],
        "warnings": list(finding.warnings),
        "load": finding.load,
        "target_ms": terms.target_ms,
        "question_source": terms.questions.source,
        "numbers": finding.numbers,
        "when": when,
        **({"server_cpus": cpus} if cpus else {}),
        **honesty.facts(),
    }


def read(folder: Path) -> list[dict[str, Any]]:
    """All that lie in `folder` and below, in the order of the measures. Raises NotAResult, naming the file."""
    found = [(path, documents.read(path)) for path in sorted(folder.rglob("*.json"))]
    for path, one in found:
        if one["kind"] not in OTHERS and (one["kind"] != "kept" or one.get("measure") not in MEASURES):
            raise NotAResult(f"{path}: is a {one['kind']}, not a measure that `prove --out` has kept")
    order = [*MEASURES, *OTHERS]
    return sorted(
        (one for _, one in found), key=lambda one: (_machine(one), order.index(one.get("measure", one["kind"])))
    )


def markdown(results: Sequence[dict[str, Any]]) -> str:
    """The whole README: a table for each machine and commit."""
    parts = [HEAD]
    machines = list(dict.fromkeys(map(_machine, results)))
    for machine in machines:
        here = [one for one in results if _machine(one) == machine]
        rows = [_row(one) for one in here if one["kind"] not in OTHERS]
        said = [_of_another(one) for one in here if one["kind"] in OTHERS]
        parts.append(f"\n## {machine}\n\n" + (COLUMNS + "\n".join(rows) + "\n") * bool(rows) + "".join(said))
    return "".join(parts) if machines else HEAD + NOTHING


def _machine(one: dict[str, Any]) -> str:
    cores = f"{one['cores']} cores"
    if cpus := one.get("server_cpus"):
        cores = f"servers on cores {cpus} and whoever asks on {cores} more"
    return f"{one['processor']}, {cores}, {one['system']}, commit {one['commit']}"


def _of_another(one: dict[str, Any]) -> str:
    """In a sentence: its own tables are in its file."""
    faults = one["faults"]
    what = "has run" if not faults else f"has run, and found {len(faults)} faults"
    if not one.get("has_run", True):
        what = faults[0]
    return f"`gateway loadtest {one['kind']}`, {one['when'][:10]}: {what}.\n"


def _row(one: dict[str, Any]) -> str:
    measure = MEASURES[one["measure"]]
    sign = "<=" if measure.is_less_better else ">="
    verdict = one["verdict"] if one["valid"] else f"INVALID: {one['faults'][0]}"
    cells = (
        f"{measure.what} (`{measure.name}`)",
        f"{sign} {measure.shown(one['at_least'])}",
        f"{sign} {measure.shown(one['aim'])}",
        f"**{measure.shown(one['value'])}**",
        verdict,
        f"{one['load']}; {one['when'][:10]}",
        _latency(one["numbers"]),
    )
    return f"| {' | '.join(cells)} |"


def _latency(numbers: dict[str, Any]) -> str:
    """Of a run or a trial; nothing of what was made from several."""
    found = numbers.get("milliseconds") or {"p50": numbers.get("p50_ms"), "p99": numbers.get("p99_ms")}
    pair = [found["p50"], found["p99"]]
    return "" if None in pair else " / ".join(f"{value:.2f}" for value in pair)
