"""Two bundles asked the same questions, here and on a CPU: what a comparison of versions rests on."""

from __future__ import annotations

from pathlib import Path

from gateway import assembly
from gateway.cli.evaluate import COLLECTION, recipe_collection
from gateway.config import Config, Device, ModelSection, Uncertified
from gateway.errors import ConfigInvalid
from gateway.forge import paired, recipes, texts
from gateway.forge.paired import Comparison
from gateway.knowledge.library import Library
from gateway.model.bundle import Bundle
from gateway.model.engine import Engine


def compared(before: Bundle, after: Bundle, questions: Path, knowledge: Path | None) -> Comparison:
    """From `before` to `after`, over the documents in `knowledge`, or over those of a recipe of theirs.

    Raises ConfigInvalid where questions or documents are missing.
    """
    try:
        rows = texts.read(*recipes.named(str(questions)))
    except (FileNotFoundError, ValueError) as error:
        raise ConfigInvalid(f"--questions: {error}") from None
    folder = knowledge or _documents(after, before)
    engines = [_engine(one) for one in (before, after)]
    libraries = [_library(engine, folder) for engine in engines]
    documents = [one.id for one in libraries[0].generation(COLLECTION).documents] if libraries[0] else []
    try:
        wanted = paired.asked(rows, engines, documents)
    except ValueError as error:
        raise ConfigInvalid(f"--questions {questions}: {error}") from None
    collection = COLLECTION if folder else ""
    first, second = (
        paired.answers(engine, library, collection, wanted.cases)
        for engine, library in zip(engines, libraries, strict=True)
    )
    return paired.compare(wanted, first, second)


def _engine(bundle: Bundle) -> Engine:
    """Also one without a certificate: whether it needs one is not decided here."""
    model = ModelSection(bundle=bundle.folder, device=Device.CPU, uncertified=Uncertified.SERVE)
    return assembly.load_engine(Config(model=model))


def _library(engine: Engine, folder: Path | None) -> Library | None:
    if folder is None:
        return None
    return assembly.load_library(engine, {COLLECTION: folder}, assembly.cache_folder())


def _documents(*bundles: Bundle) -> Path | None:
    """The first collection that is where a recipe says; None where no label stands for a document."""
    found = [folder for bundle in bundles if (folder := recipe_collection(bundle))]
    if found:
        return found[0]
    if any(label.document_id for bundle in bundles for label in bundle.manifest.labels):
        raise ConfigInvalid("no documents are where the recipes say, and labels stand for some: name --knowledge")
    return None
