"""`gateway evaluate`: what a bundle is worth, on questions whose answers are known."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from gateway import assembly
from gateway.cli import machine
from gateway.cli.tables import show
from gateway.config import Config, Device, ModelSection, Precision, Uncertified
from gateway.errors import ConfigInvalid
from gateway.forge import evaluate as measuring
from gateway.forge import outcomes, recipes, texts
from gateway.forge.evaluate import Case
from gateway.forge.outcomes import Outcomes
from gateway.forge.recipes import ConfidenceSection
from gateway.knowledge.library import Library
from gateway.model import bundle as bundles
from gateway.model.bundle import Bundle
from gateway.model.engine import Engine

COLLECTION = "evaluated"
FILE_WIDTH = 120  # columns, where the tables go into a file


@click.command()
@click.option("--bundle", type=click.Path(path_type=Path), required=True, help="Folder of the bundle.")
@click.option("--questions", required=True, help="CSV with text,category[,document]; or FILE#SPLIT.")
@click.option("--oos", multiple=True, help="Texts that nothing answers: FILE or FILE#SPLIT; may be repeated.")
@click.option("--oos-limit", type=int, default=2000, show_default=True, help="At most so many of each --oos file.")
@click.option("--oos-offset", type=int, default=0, help="First line of each long --oos file to take.")
@click.option("--oos-every", type=int, default=1, help="Take every n-th line of an --oos file of plain lines.")
@click.option(
    "--knowledge", type=click.Path(path_type=Path), help="Folder of documents.  [the recipe's, if it is there]"
)
@click.option("--base", is_flag=True, help="Also: retrieval by the base model alone. Needs the [train] extra.")
@click.option(
    "--reference", type=click.Path(path_type=Path), help="The forge's reference.onnx, to compare labels with."
)
@click.option("--device", type=click.Choice([device.value for device in Device]), default="auto")
@click.option("--precision", type=click.Choice([one.value for one in Precision]), default="auto")
@click.option(
    "--json", "json_file", type=click.Path(path_type=Path), help="Write everything there too; - prints it alone."
)
def evaluate(
    bundle: Path,
    questions: str,
    oos: tuple[str, ...],
    oos_limit: int,
    oos_offset: int,
    oos_every: int,
    knowledge: Path | None,
    base: bool,
    reference: Path | None,
    device: str,
    precision: str,
    json_file: Path | None,
) -> None:
    """Accuracy, coverage, AUROC, and, with documents, every policy end to end.

    Files are looked for here, and then in the folder that GATEWAY_DATA names.

    Questions whose category the bundle knows are in scope; others are unseen, and right if retrieval finds the document
    that the category's slug names, or the column document where it says so. For --oos texts, abstaining is right.
    """
    if json_file and str(json_file) != "-":
        _check_writable(json_file)
    began_on = machine.facts()
    config = Config(
        model=ModelSection(
            bundle=bundle, device=Device(device), precision=Precision(precision), uncertified=Uncertified.SERVE
        )
    )
    try:
        rows = texts.read(*recipes.named(questions))
        outside = {spec: outside_of(spec, oos_offset, oos_every, oos_limit) for spec in oos}
    except (FileNotFoundError, ValueError) as error:
        raise ConfigInvalid(str(error)) from None
    engine = assembly.load_engine(config)
    folder = knowledge or _collection(engine.bundle)
    collections = {COLLECTION: folder} if folder else {}
    library = assembly.load_library(engine, collections, assembly.cache_folder())
    wanted = _cases(engine, library, rows, outside)
    seen = measuring.look(engine, library if folder else None, COLLECTION, wanted)
    profile = engine.profile()
    served = measuring.served_confidence(profile, library, COLLECTION, seen) if folder else None
    found: dict[str, Any] = {
        "machine": {
            **began_on,
            "bundle": engine.bundle.id,
            "provider": engine.provider,
            "precision": engine.precision,
        },
        "model": measuring.model_measures(profile, seen, served, _developed(engine), _oos_share(engine)),
        "milliseconds": measuring.stages(seen),
    }
    if folder:
        found["end_to_end"] = measuring.end_to_end(profile, library, COLLECTION, seen)
    if reference:
        from gateway.forge import export

        inside = [case.text for case in wanted if case.group == measuring.IN_SCOPE]
        found["fidelity"] = export.fidelity(engine.bundle, reference, inside)
    if base and folder:
        from gateway.forge import baseline

        found["base_retrieval"] = baseline.retrieval(
            engine.bundle, library.generation(COLLECTION), wanted, assembly.cache_folder()
        )
    if json_file and str(json_file) != "-":
        json_file.write_text(json.dumps(found, indent=1) + "\n")
    if json_file and str(json_file) == "-":
        click.echo(json.dumps(found, indent=1))
    else:
        show(found, Console(width=None if sys.stdout.isatty() else FILE_WIDTH))


def _developed(engine: Engine) -> Outcomes | None:
    """What the bundle made of the questions that trained nothing, where it says so."""
    path = engine.bundle.folder / bundles.outcomes_name(engine.precision)
    return outcomes.read(path) if path.is_file() else None


def _oos_share(engine: Engine) -> float:
    """Of the recipe that made the bundle."""
    stated = engine.bundle.manifest.recipe.get("confidence", {})
    return ConfidenceSection.model_validate(stated).oos_share


def outside_of(spec: str, offset: int, every: int, limit: int) -> list[str]:
    """`every` and `offset` pick lines of plain files only, which a recipe may have shared by them."""
    source, split = recipes.named(spec)
    rows = texts.read(source, split)
    if not split and source.suffix != ".csv":
        rows = rows[offset::every]
    return [row.text for row in rows[:limit]]


def _check_writable(path: Path) -> None:
    """Before measuring for minutes. Leaves nothing behind."""
    was_there = path.exists()
    try:
        path.open("a").close()
    except OSError as error:
        raise ConfigInvalid(f"--json {path}: cannot be written ({error.strerror})") from None
    if not was_there:
        path.unlink()


def recipe_collection(bundle: Bundle) -> Path | None:
    """The collection that the bundle was made with, if its labels stand for documents and they are where its recipe
    says."""
    named = str(bundle.manifest.recipe.get("knowledge", {}).get("collection", ""))
    if not named or not any(label.document_id for label in bundle.manifest.labels):
        return None
    found = recipes.find(named, recipes.roots(bundle.folder.parent))
    return found.resolve() if found and found.is_dir() else None


def _collection(bundle: Bundle) -> Path | None:
    """As `recipe_collection`; says so where documents are missed."""
    found = recipe_collection(bundle)
    if found is None and any(label.document_id for label in bundle.manifest.labels):
        named = str(bundle.manifest.recipe.get("knowledge", {}).get("collection", ""))
        where = f"at {(bundle.folder.parent / named).resolve()}" if named else "by the bundle's recipe"
        click.echo(
            f"no documents found {where}: only the model is measured; name their folder with --knowledge", err=True
        )
    return found


def _cases(engine: Engine, library: Library, rows: list[texts.Labelled], outside: dict[str, list[str]]) -> list[Case]:
    labels = {label.name: label.document_id for label in engine.bundle.manifest.labels}
    documents = [one.id for one in library.generation(COLLECTION).documents] if library.names() else []
    found = measuring.cases(rows, labels, documents)
    if not found:
        raise ConfigInvalid("none of the questions has a category; --questions needs a CSV with text,category")
    groups = groups_of(list(outside))
    return found + [Case(text, groups[spec]) for spec, some in outside.items() for text in some]


def groups_of(specs: list[str]) -> dict[str, str]:
    """Each --oos file's group: the name of the file, or its whole path where another has that name too."""
    names = {spec: Path(spec).name for spec in specs}
    seen = list(names.values())
    return {spec: name if seen.count(name) == 1 else spec for spec, name in names.items()}
