"""One page of a comparison, with its pictures inside: it can be sent, kept and opened without a network."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Figures = Mapping[str, Any]

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1f2933; background: #fff; margin: 2rem auto; max-width: 62rem;
       padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.5rem; }
p.facts { color: #52606d; font-size: .85rem; }
img { max-width: 100%; height: auto; }
div.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; margin: 1rem 0; }
th, td { padding: .3rem .7rem; text-align: right; border-bottom: 1px solid #e4e7eb; white-space: nowrap; }
th { color: #52606d; font-weight: 600; } th:first-child, td:first-child { text-align: left; }
tr.served td { background: #eef6fa; }
"""


def page(confidences: Sequence[Figures], policies: Figures | None, pictures: Mapping[str, bytes]) -> str:
    """`pictures` are PNG, by the names that `sections` gives them."""
    parts = ["<h1>Confidences and policies, compared</h1>"]
    for number, figures in enumerate(confidences):
        parts += _confidence(figures, pictures[f"confidence-{number + 1}"])
    if policies:
        parts += _policies(policies, pictures)
    body = "\n".join(parts)
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><style>{STYLE}</style>'
    head += "<title>Comparison</title>"
    return f'<!doctype html>\n<html lang="en">\n<head>{head}</head>\n<body>\n{body}\n</body></html>\n'


def _confidence(figures: Figures, picture: bytes) -> list[str]:
    groups = list(next(iter(figures["scores"].values()))["auroc"])
    heads = ["score", *(f"AUROC, {group}" for group in groups), "lead, near", "AUPR, near", "FPR95, near"]
    heads += ["covered at 5 % risk", "in scope alone"]
    rows = [
        [
            name,
            *(f"{one['auroc'][group]['value']:.4f}" for group in groups),
            _difference(one["lead"], 1, 4),
            f"{one['aupr']['near']['value']:.4f}",
            f"{one['fpr95']['near']['value']:.4f}",
            _interval(one["coverage_with_near"]),
            _interval(one["coverage"]),
        ]
        for name, one in figures["scores"].items()
    ]
    return [
        f"<h2>Which score tells what the model may answer: {html.escape(figures['recipe'])}</h2>",
        _facts(figures, f"logits: {figures['head']}"),
        _image(picture, "AUROC of every score"),
        _table(heads, rows, {row[0] for row in rows if row[0].startswith("served")}),
    ]


def _policies(figures: Figures, pictures: Mapping[str, bytes]) -> list[str]:
    found = figures["policies"]
    heads = ["policy", "AUGRC, %", "less than threshold", "covered at 5 % risk", "more", "right, %", "wrong, %"]
    heads += ["gain, %", "more", "searched, %", "ms: mean, p50, p99"]
    rows = [
        [
            plain(name),
            f"{100 * one['augrc']['value']:.2f}",
            _difference(one["less_augrc"], 100, 2),
            _interval(one["coverage"]),
            _difference(one["more_coverage"], 100, 1),
            *(f"{100 * one[key]['value']:.1f}" for key in ("right", "wrong", "gain")),
            _difference(one["more_gain"], 100, 1),
            f"{100 * one['searched']:.1f}",
            ", ".join(f"{value:.2f}" for value in one["milliseconds"]),
        ]
        for name, one in found.items()
    ]
    groups = list(next(iter(figures["by_group"].values())))
    by_group = [
        [plain(name), *(f"{100 * of[group]['right']:.1f}, {100 * of[group]['wrong']:.1f}" for group in groups)]
        for name, of in figures["by_group"].items()
    ]
    mix = ", ".join(f"{name} {share:.1%}" for name, share in figures["shares"].items())
    pass_ms = f"forward pass {figures['forward_ms']:.2f} ms"
    return [
        f"<h2>Policies on the same outputs: {html.escape(figures['split'])} questions</h2>",
        _facts(figures, f"weighed as {mix}; {pass_ms}, which the milliseconds of a decision leave out"),
        _image(pictures["risk-coverage"], "risk by coverage of every policy"),
        _image(pictures["leads"], "AUGRC of every policy beside the threshold cascade"),
        _image(pictures["costs"], "gain by cost of every policy"),
        _table(heads, rows, {"cascade"}),
        "<h2>Right and wrong by group, as served, %</h2>",
        _table(["policy", *groups], by_group, {"cascade"}),
    ]


def _facts(figures: Figures, more: str) -> str:
    sizes = ", ".join(f"{name} {size}" for name, size in figures["questions"].items())
    machine = figures["machine"]
    text = (
        f"{figures['bundle']} by {figures['recipe']}: {sizes}; {more}. {figures['draws']} paired resamples, "
        f"intervals at 95 %. Commit {machine['commit']}, {machine['processor']}."
    )
    return f'<p class="facts">{html.escape(text)}</p>'


def _image(content: bytes, what: str) -> str:
    return f'<img alt="{html.escape(what)}" src="data:image/png;base64,{base64.b64encode(content).decode()}">'


def _table(heads: Iterable[str], rows: Iterable[Sequence[str]], marked: set[str]) -> str:
    def cells(tag: str, some: Iterable[str]) -> str:
        return "".join(f"<{tag}>{html.escape(one)}</{tag}>" for one in some)

    lines = [f"<tr>{cells('th', heads)}</tr>"]
    lines += [f"<tr{' class=served' if row[0] in marked else ''}>{cells('td', row)}</tr>" for row in rows]
    return f'<div class="wide"><table>{"".join(lines)}</table></div>'


def plain(name: str) -> str:
    """A policy's name as people read it."""
    return name.replace("_", " ")


def _interval(one: Mapping[str, float]) -> str:
    return f"{100 * one['value']:.1f} ({100 * one['low']:.1f}, {100 * one['high']:.1f})"


def _difference(one: Mapping[str, float], scale: float, places: int) -> str:
    if one["low"] == one["high"] == 0:
        return ""
    low, high = (f"{scale * one[end]:+.{places}f}" for end in ("low", "high"))
    return f"{scale * one['value']:+.{places}f} ({low}, {high})"
