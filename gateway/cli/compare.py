"""`gateway compare`: which confidence, and which policy, does best on questions that fitted nothing of them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console

from gateway import assembly
from gateway.cli import comparisons, machine
from gateway.cli.evaluate import COLLECTION, FILE_WIDTH, groups_of, outside_of
from gateway.config import CascadeSection, Config, Device, ModelSection
from gateway.errors import ConfigInvalid
from gateway.forge import confidences, data, held_out, knowledge, policies, recipes, texts
from gateway.forge.data import Data
from gateway.forge.evaluate import Case, cases
from gateway.forge.recipes import Recipe
from gateway.forge.texts import Labelled
from gateway.model.engine import Engine

FAR_LIMIT = 2000
PRICES = (0.01, 0.03, 0.1, 0.3, 1.0)
"""Of a millisecond of a search, in P(right): with the configured one, points of routing's curve."""
Command = TypeVar("Command", bound=Callable[..., Any])


@click.group()
def compare() -> None:
    """Compare ways to decide, on development questions of a recipe, and show what was found."""


def shared(command: Command) -> Command:
    """The argument and options that both comparisons have."""
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
    facts = machine.facts()
    wanted, seen, engine, far = _read(recipe, bundle, oos, oos_offset, oos_every)
    labels = [label.name for label in engine.bundle.manifest.labels]
    try:
        material = held_out.gather(engine.outputs, labels, seen, knowledge.of(wanted, seen), far)
    except (FileNotFoundError, ValueError) as error:
        raise ConfigInvalid(str(error)) from None
    found = confidences.compare(
        material.asked, material.trained, material.scenery, wanted.confidence.oos_share, wanted.data.seed
    )
    rows = confidences.measure(material.asked, found, draws, seed)
    groups = material.asked.group.tolist()
    figures = _figures(facts, engine, wanted, groups, draws) | {
        "head": "linear, on the bundle's embeddings" if material.has_head else "the bundle's",
        "scores": {name: asdict(row) for name, row in rows.items()},
    }
    _write(json_file, figures)
    comparisons.show_confidences(figures, rows, _console())


@compare.command(name="policies")
@shared
@click.option("--test", type=click.Path(path_type=Path), help="A test split's questions instead: the last measure.")
def policies_command(
    recipe: Path,
    bundle: Path,
    oos: tuple[str, ...],
    oos_offset: int,
    oos_every: int,
    draws: int,
    seed: int,
    json_file: Path | None,
    test: Path | None,
) -> None:
    """Every policy on the same outputs: RECIPE's development questions, its held-out intents, and other subjects.

    Of what a run of the forge sets aside, the development questions alone have fitted nothing that decides.
    """
    facts = machine.facts()
    wanted, seen, engine, far = _read(recipe, bundle, oos, oos_offset, oos_every)
    try:
        rows = texts.read(*recipes.named(str(test))) if test else [*seen.dev, *seen.unseen]
        folder = wanted.locate(wanted.knowledge.collection) if wanted.knowledge.collection else None
    except (FileNotFoundError, ValueError) as error:
        raise ConfigInvalid(str(error)) from None
    if folder is None:
        raise ConfigInvalid(f"{recipe} has no [knowledge], and without documents there is one policy: the model's")
    library = assembly.load_library(engine, {COLLECTION: folder}, assembly.cache_folder())
    asked = _cases(engine, [one.id for one in library.generation(COLLECTION).documents], rows, far)
    outputs = engine.outputs([case.text for case in asked])
    price = 1e3 * CascadeSection().price_per_ms
    ways = policies.ways(engine.profile(), price)
    ways |= {f"routing at {one:g}": policies.Way(ways["routing"].policy, engine.profile(), 1e3 * one) for one in PRICES}
    taken = policies.take(ways, library, COLLECTION, asked, outputs)
    groups = [case.group for case in asked]
    measured = policies.measure(groups, taken, draws, seed)
    figures = _figures(facts, engine, wanted, groups, draws) | {
        "split": str(test) if test else "development",
        "shares": policies.SHARES,
        "forward_ms": policies.forward_ms(engine, [case.text for case in asked]),
        "policies": {name: asdict(row) for name, row in measured.items()},
        "by_group": policies.by_group(groups, taken),
    }
    _write(json_file, figures)
    comparisons.show_policies(figures, measured, _console())


def _read(
    recipe: Path, bundle: Path, oos: tuple[str, ...], offset: int, every: int
) -> tuple[Recipe, Data, Engine, dict[str, list[str]]]:
    """The recipe with its data, the bundle on CPU, and the texts of other subjects by the names of their groups."""
    try:
        wanted = recipes.load(recipe)
        seen = data.load(wanted)
        far = {spec: outside_of(spec, offset, every, FAR_LIMIT) for spec in oos}
    except (FileNotFoundError, ValueError) as error:
        raise ConfigInvalid(str(error)) from None
    engine = assembly.load_engine(Config(model=ModelSection(bundle=bundle, device=Device.CPU)))
    names = groups_of(list(far))
    return wanted, seen, engine, {names[spec]: some for spec, some in far.items()}


def _cases(engine: Engine, documents: list[str], rows: list[Labelled], far: dict[str, list[str]]) -> list[Case]:
    labels = {label.name: label.document_id for label in engine.bundle.manifest.labels}
    return cases(rows, labels, documents) + [Case(text, policies.FAR) for some in far.values() for text in some]


def _figures(facts: Any, engine: Engine, recipe: Recipe, groups: list[str], draws: int) -> dict[str, Any]:
    return {
        "machine": dict(facts),
        "bundle": engine.bundle.id,
        "recipe": recipe.bundle.name,
        "questions": {name: groups.count(name) for name in dict.fromkeys(groups)},
        "draws": draws,
    }


def _write(path: Path | None, figures: dict[str, Any]) -> None:
    if path:
        path.write_text(json.dumps(figures, indent=1) + "\n")


def _console() -> Console:
    return Console(width=None if sys.stdout.isatty() else FILE_WIDTH)


@compare.command()
@click.option("--confidence", "confidence_files", multiple=True, type=click.Path(path_type=Path), help="Its --json.")
@click.option("--policies", "policies_file", type=click.Path(path_type=Path), help="Its --json.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for report.html and the plots.")
def report(confidence_files: tuple[Path, ...], policies_file: Path | None, out: Path) -> None:
    """Plots (PNG) and one page with them inside, from what the other two commands have written."""
    from gateway.forge import plots
    from gateway.forge import report as reporting

    if not confidence_files and not policies_file:
        raise ConfigInvalid("nothing to show: name what was written by --json, with --confidence or --policies")
    found = [_figures_of(path, "scores") for path in confidence_files]
    compared = _figures_of(policies_file, "policies") if policies_file else None
    pictures = {f"confidence-{number + 1}": plots.near(figures) for number, figures in enumerate(found)}
    if compared:
        pictures |= {
            "risk-coverage": plots.risk_coverage(compared),
            "leads": plots.leads(compared),
            "costs": plots.costs(compared),
        }
    out.mkdir(parents=True, exist_ok=True)
    for name, content in pictures.items():
        (out / f"{name}.png").write_bytes(content)
    (out / "report.html").write_text(reporting.page(found, compared, pictures))
    click.echo(f"{out / 'report.html'}, and {len(pictures)} plots beside it")


def _figures_of(path: Path, key: str) -> dict[str, Any]:
    """ConfigInvalid where the file is not what such a comparison wrote."""
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ConfigInvalid(f"{path}: cannot be read: {error}") from None
    if not isinstance(found, dict) or key not in found:
        raise ConfigInvalid(f"{path}: holds no {key}; name what `gateway compare` wrote with --json")
    return found
