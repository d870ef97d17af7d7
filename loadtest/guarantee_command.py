"""`guarantee`: whether thresholds keep what their certificate promises, and whether a breach would be seen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console

from gateway.config import Config
from gateway.errors import BundleInvalid
from gateway.forge import outcomes
from gateway.forge.certify import Asked
from gateway.model import bundle as bundles
from loadtest import guarantee as proof
from loadtest import options, proof_results
from loadtest.guarantee import Population, Tally

FOLDER = click.Path(path_type=Path, file_okay=False)
OPEN_SHARE = click.FloatRange(0, 1, min_open=True, max_open=True)


@click.command("guarantee", short_help="Certificates on other questions, held against the truth.")
@click.option("--bundle", type=FOLDER, default=lambda: Config().model.bundle, help="[the shipped one]")
@click.option("--precision", type=click.Choice(["int8", "fp16", "fp32"]), default="int8", show_default=True)
@click.option("--splits", type=click.IntRange(min=100), default=500, show_default=True, help="Tries, of each way.")
@click.option("--alpha", type=OPEN_SHARE, default=0.05, show_default=True, help="What may be wrong of the answers.")
@click.option("--delta", type=OPEN_SHARE, default=0.05, show_default=True, help="How often more may be.")
@click.option("--oos-share", type=click.FloatRange(0, 1, max_open=True), default=0.1, show_default=True)
@click.option("--seed", default=7, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Write the whole result to this JSON file.")
@click.option("--json", "is_json", is_flag=True, help="Print JSON.")
def guarantee(
    bundle: Path,
    precision: str,
    splits: int,
    alpha: float,
    delta: float,
    oos_share: float,
    seed: int,
    out: Path | None,
    is_json: bool,
) -> None:
    """Certifies the bundle's thresholds anew on other divisions of its questions that are no test split, and on draws
    from them, and looks up the risk where the certificate was not made. It may exceed alpha in a share delta of the
    tries. With far more out of scope than certified, with another kind of it, and without a bound it does so more
    often: that says that these tries can tell.

    Exit code 1 where a promise is broken more often than chance explains, or no breach is seen. Takes half a minute.
    """
    asked = Asked(alpha, 1 - delta, oos_share)
    try:
        loaded = bundles.load(bundle)
        kept = outcomes.read(loaded.path(bundles.outcomes_name(precision)))
    except (BundleInvalid, ValueError) as error:
        raise click.ClickException(str(error)) from None
    tallies = {
        (name, way): proof.tally(Population.of(kept, name), way, asked, splits, seed)
        for name in kept.confidences
        for way in proof.WAYS
    }
    found = proof_results.result(
        "guarantee",
        [fault for key, one in tallies.items() for fault in proof.faults(one, ", ".join(key), asked)],
        bundle=loaded.id,
        precision=precision,
        alpha=alpha,
        delta=delta,
        oos_share=oos_share,
        seed=seed,
        splits=splits,
        questions=len(kept.inside(*proof.NON_TEST)),
        outliers=len(kept.outside(*proof.NON_TEST)),
        unseen=len(kept.outside(outcomes.Part.UNSEEN)),
        ways=[_numbers(name, way, one, asked) for (name, way), one in tallies.items()],
    )
    options.finish(found, show, out=out, html=None, is_json=is_json)


def _numbers(name: str, way: str, found: Tally, asked: Asked) -> dict[str, Any]:
    return {
        "confidence": name,
        "way": way,
        "certified": found.certified,
        "coverage": round(float(np.mean(found.coverage or [0.0])), 4),
        "certified_oos_share": round(float(np.median(found.oos_share or [0.0])), 4),
        "broken": {case.name: found.broken[case.name] for case in proof.cases(asked)},
    }


def show(found: dict[str, Any], console: Console) -> None:
    ways = [f"{one['confidence']}\n{one['way']}" for one in found["ways"]]
    proof_results.show(found, console, ("of the tries", *ways), _rows(found))
    console.print(
        f"Below the first three rows: how often the true risk exceeded alpha, {found['alpha']:.1%}, in "
        f"{found['splits']} tries; delta is {found['delta']:.1%}. {found['questions']:,} questions in scope, "
        f"{found['outliers']:,} outliers, {found['unseen']:,} questions of unseen intents; no test split.",
        soft_wrap=True,
        highlight=False,
    )


def _rows(found: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    ways = found["ways"]
    yield "certified", *(f"{one['certified'] / found['splits']:.1%}" for one in ways)
    yield "answered in scope, mean", *(f"{one['coverage']:.1%}" for one in ways)
    yield "certified OOS share, median", *(f"{one['certified_oos_share']:.1%}" for one in ways)
    asked = Asked(found["alpha"], 1 - found["delta"], found["oos_share"])
    for case in proof.cases(asked):
        share = "" if case.share is None else f" ({case.share:.0%})"
        promise = "<= delta" if case.is_promised else "> delta"
        broken = (f"{one['broken'][case.name] / found['splits']:.1%}" for one in ways)
        yield f"{promise}: {case.name}{share}", *broken
