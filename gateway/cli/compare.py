"""`gateway compare`: which confidence tells best what may be answered, on questions that fitted nothing of it."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from gateway import assembly
from gateway.cli import comparisons, machine
from gateway.cli.evaluate import FILE_WIDTH, groups_of, outside_of
from gateway.config import Config, Device, ModelSection
from gateway.errors import ConfigInvalid
from gateway.forge import confidences, data, held_out, knowledge, recipes

FAR_LIMIT = 2000


@click.group()
def compare() -> None:
    """Compare ways to decide, on development questions of a recipe."""


def shared(command: Any) -> Any:
    """The options that both comparisons have."""
    for option in (
        click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the figures there too."),
        click.option("--seed", type=int, default=0, show_default=True, help="Of the resamples."),
        click.option("--draws", type=click.IntRange(min=20), default=1000, show_default=True, help="Resamples."),
        click.option("--oos-every", type=int, default=1, help="Take every n-th line of an --oos file of plain lines."),
        click.option("--oos-offset", type=int, default=0, help="First line of each long --oos file to take."),
        click.option("--oos", multiple=True, help="Texts of other subjects: FILE or FILE#SPLIT; may be repeated."),
        click.option("--bundle", type=click.Path(path_type=Path), required=True, help="Folder of the bundle."),
        click.argument("recipe", type=click.Path(path_type=Path)),
    ):
        command = option(command)
    return command


@compare.command()
@shared
def confidence(
    recipe: Path,
    bundle: Path,
    oos: tuple[str, ...],
    oos_offset: int,
    oos_every: int,
    draws: int,
    seed: int,
    json_file: Path | None,
) -> None:
    """Every score of being in scope on RECIPE's held-out intents (near) and on other subjects (far).

    What is fitted is fitted across folds of the development and calibration questions; no question of a test split is
    read. Where the recipe's labels are not the bundle's, a linear head is fitted on the bundle's embeddings.
    """
    try:
        wanted = recipes.load(recipe)
        seen = data.load(wanted)
        known = knowledge.of(wanted, seen)
        far = {spec: outside_of(spec, oos_offset, oos_every, FAR_LIMIT) for spec in oos}
        engine = assembly.load_engine(Config(model=ModelSection(bundle=bundle, device=Device.CPU)))
        names = groups_of(list(far))
        labels = [label.name for label in engine.bundle.manifest.labels]
        material = held_out.gather(
            engine.outputs, labels, seen, known, {names[spec]: texts for spec, texts in far.items()}
        )
    except (FileNotFoundError, ValueError) as error:
        raise ConfigInvalid(str(error)) from None
    found = confidences.compare(
        material.asked, material.trained, material.scenery, wanted.confidence.oos_share, wanted.data.seed
    )
    rows = confidences.measure(material.asked, found, draws, seed)
    sizes = {name: int((material.asked.group == name).sum()) for name in dict.fromkeys(material.asked.group.tolist())}
    figures = {
        "machine": dict(machine.facts()),
        "bundle": engine.bundle.id,
        "recipe": wanted.bundle.name,
        "head": "linear, on the bundle's embeddings" if material.has_head else "the bundle's",
        "questions": sizes,
        "draws": draws,
        "scores": {name: asdict(row) for name, row in rows.items()},
    }
    if json_file:
        json_file.write_text(json.dumps(figures, indent=1) + "\n")
    comparisons.show_confidences(figures, rows, Console(width=None if sys.stdout.isatty() else FILE_WIDTH))
