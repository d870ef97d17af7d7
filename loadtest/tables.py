"""How results are shown in a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table


def show_run(found: dict[str, Any], console: Console) -> None:
    """One line a load."""
    _heading(found, console)
    header = ("offered/s", "OK/s", "good/s", "good", "of capacity", "p50 ms", "p90", "p99", "p99.9", "max")
    table = _table("load", *(name for name in header if found["capacity"] or name != "of capacity"))
    for load, numbers in found["loads"].items():
        latency = numbers["milliseconds"]
        table.add_row(
            load,
            _number(numbers["offered_per_second"]),
            _number(numbers["ok_per_second"]),
            _number(numbers["good_per_second"]),
            _share(numbers["good_share"]),
            *([_share(numbers["good_of_capacity"])] if found["capacity"] else []),
            *(_number(latency[name], 2) for name in ("p50", "p90", "p99", "p99.9", "max")),
        )
    console.print(table)
    whole = found["loads"]["all"]
    console.print(f"statuses  {counted(whole['statuses'])}", highlight=False)
    console.print(f"routes    {counted(whole['routes'])}", highlight=False)
    console.print(f"lost      {whole['lost']} with neither an answer nor a refusal", highlight=False)
    console.print(f"asked     {found['question_source'] or '-'}", highlight=False)
    generator = found["generator"]
    console.print(
        f"generator late p99 {generator['late_p99_ms']:.2f} ms, max {generator['late_max_ms']:.2f}; "
        f"{100 * generator['cpu']:.0f} % of a core; steal {100 * generator['steal']:.1f} %"
        f"{'' if generator['is_first'] else '; at usual priority'}",
        highlight=False,
    )
    if found["server_use"]:
        use = found["server_use"]
        console.print(
            f"server    {_number(use['cpu_ms_per_answer'], 3)} ms of CPU an answer, {use['cores']:.2f} cores, "
            f"RSS {use['rss_mb_first']:.0f} -> {use['rss_mb_last']:.0f} MB "
            f"(x {_number(use['rss_ratio'], 3)} since second {use['rss_first_second']:g})",
            highlight=False,
        )
    if found["tokens"]:
        tokens = found["tokens"]
        console.print(
            f"tokens    {tokens['computed']} computed, {_share(tokens['wasted_share'], 2)} for callers already gone",
            highlight=False,
        )
    for event in found["events"]:
        _show_event(event, console)


def _show_event(event: dict[str, Any], console: Console) -> None:
    window, before = event["window"], event["before"]
    console.print(
        f"[bold]{event['do']}[/]      at {event['began']:.1f} s, took {event['ended'] - event['began']:.1f} s: "
        f"{event['outcome'] or event['failure']}",
        highlight=False,
    )
    first, after = window["seconds"]
    console.print(
        f"          seconds {first} to {after}: {window['errors']} errors of {window['offered']}, "
        f"p99 {_number(window['p99_ms'], 2)} ms; before it {_number(before['p99_ms'], 2)} "
        f"(x {_number(event['p99_ratio'], 2)})",
        highlight=False,
    )


def show_capacity(found: dict[str, Any], console: Console) -> None:
    _heading(found, console)
    table = _table("rate/s", "", "OK/s", "p50 ms", "p99 ms", "late p99 ms", "generator", "statuses")
    for trial in found["trials"]:
        table.add_row(
            _number(trial["rate"]),
            "[green]passed[/]" if trial["passed"] else "[red]failed[/]",
            _number(trial["ok_per_second"]),
            _number(trial["p50_ms"], 2),
            _number(trial["p99_ms"], 2),
            _number(trial["late_p99_ms"], 2),
            _share(trial["generator_cpu"]),
            counted(trial["statuses"]),
        )
    console.print(table)
    low, high = found["spread"]
    console.print(
        f"[bold]capacity {found['capacity']:g}/s[/] with p99 <= {found['target_ms']:g} ms and every question answered "
        f"(median of {len(found['repeats'])}, {low:g} to {high:g})",
        highlight=False,
    )


def show_sweep(found: dict[str, Any], console: Console) -> None:
    _heading(found, console)
    table = _table("of capacity", "offered/s", "good/s", "good of capacity", "p50 ms", "p99 ms", "statuses", "")
    for point in found["points"]:
        table.add_row(
            f"{point['multiple']:g} x",
            _number(point["offered_per_second"]),
            _number(point["good_per_second"]),
            _share(point["good_of_capacity"]),
            _number(point["p50_ms"], 2),
            _number(point["p99_ms"], 2),
            counted(point["statuses"]),
            "[red]INVALID[/]" if point["faults"] else "",
        )
    console.print(table)


def show_comparison(found: dict[str, Any], console: Console) -> None:
    console.print(f"A  {found['a']}\nB  {found['b']}", highlight=False)
    table = _table("", "A", "B", "B / A", "95 % interval")
    for name, ratio in found["ratios"].items():
        table.add_row(
            name.replace("_", " "),
            _number(ratio["a"], 3),
            _number(ratio["b"], 3),
            _number(ratio["ratio"], 3),
            f"{_number(ratio['low'], 3)} to {_number(ratio['high'], 3)}",
        )
    console.print(table)


def show_peers(found: dict[str, Any], console: Console) -> None:
    _heading(found, console)
    table = _table("server", "capacity/s", "spread", "of ours", "CPU ms", "of ours", "p99 ms")
    for row in found["servers"]:
        low, high = row["spread"]
        table.add_row(
            row["name"],
            _number(row["capacity"]),
            f"{low:.0f} - {high:.0f}",
            _number(row["capacity_to_gateway"], 2),
            _number(row["cpu_ms_per_answer"], 3),
            _number(row["cpu_to_gateway"], 2),
            _number(row["p99_ms"], 2),
        )
    console.print(table)
    console.print(f"CPU an answer and p99 at {found['cpu_rate']:g}/s, half of the lowest capacity", highlight=False)
    for name in ("capacity_ratio_triton", "cpu_ratio_triton", "capacity_ratio_mlserver", "cpu_ratio_mlserver"):
        console.print(f"{name:<24} {_number(found[name], 3)}", highlight=False)


def show_cross_check(found: dict[str, Any], console: Console) -> None:
    _heading(found, console)
    names = ("per_second", "p50_ms", "p99_ms", "max_ms")
    table = _table("generator", "answers/s", "p50 ms", "p99 ms", "max ms")
    for row in found["rows"]:
        table.add_row(row["generator"], *(_number(row[name], 2) for name in names))
    table.add_row("h2load / ours", *(_number(found["ratios"].get(name), 3) for name in names))
    console.print(table)


def counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name or '-'} {count}" for name, count in counts.items()) or "none"


def _heading(found: dict[str, Any], console: Console) -> None:
    console.print(f"[bold]{found.get('server') or found['title']}[/]", highlight=False)
    line = f"{found['processor']}, {found['system']}, commit {found['commit']}, {found['when']}\n"
    console.print(line, highlight=False, soft_wrap=True)


def _table(first: str, *names: str) -> Table:
    # Light enough for ten columns in 80 characters.
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, collapse_padding=True)
    table.add_column(first, min_width=6)
    for name in names:
        is_text = name in ("", "statuses", "95 % interval")
        table.add_column(name, justify="left" if is_text else "right", no_wrap=name != "statuses")
    return table


def _number(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _share(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{100 * value:.{digits}f} %"
