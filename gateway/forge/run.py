"""`gateway forge run`: from a recipe to a bundle, step by step."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from safetensors.torch import load_file, save_file

from gateway.forge import bases, choose, data, export, measure, teacher, variations
from gateway.forge import bundle as bundling
from gateway.forge.data import Data
from gateway.forge.distil import TransferSet, distil
from gateway.forge.encoder import Student, from_base
from gateway.forge.graph import Layout, Precision
from gateway.forge.recipes import Recipe
from gateway.forge.steps import Done, Report, Steps
from gateway.knowledge.documents import passages, read_folder, slug
from gateway.types import Document, Passage


@dataclass(frozen=True, slots=True)
class Knowledge:
    """The documents that labels stand for, divided; `document_of` maps labels to document ids."""

    documents: tuple[Document, ...]
    passages: tuple[Passage, ...]
    document_of: dict[str, str]

    def before_launch(self, data: Data) -> list[Passage]:
        """The passages that existed when the model was trained: not those of intents that it must not know."""
        later = {self.document_of.get(row.category, "") for row in data.unseen}
        return [passage for passage in self.passages if passage.document_id not in later]


@dataclass(frozen=True, slots=True)
class Forge:
    """One run: the recipe with its data and knowledge, and where to work."""

    recipe: Recipe
    data: Data
    knowledge: Knowledge
    steps: Steps
    console: Console
    cache: Path

    @property
    def label_numbers(self) -> dict[str, int]:
        return {label: number for number, label in enumerate(self.data.labels)}


def run(recipe: Recipe, work: Path, out: Path, cache: Path, console: Console) -> Path:
    """Make the bundle in `out`; `work` keeps finished steps, `cache` base weights. Returns `out`.

    Raises FileNotFoundError or ValueError for the recipe's data, bases.BaseMissing for its weights.
    """
    seen = data.load(recipe)
    forge = Forge(recipe, seen, knowledge_of(recipe, seen), Steps(work, console), console, cache)
    _say_sizes(forge)
    taught = _teach(forge)
    lessons = _lessons(forge, taught)
    students = {layers: _student(forge, lessons, layers) for layers in recipe.student.layers}
    measured = {layers: _measure(forge, done, layers) for layers, done in students.items()}
    layers = choose.best(measured)
    console.print(choose.table(measured, layers))
    student = restore(forge, students[layers], layers)
    return bundling.make(
        forge.recipe,
        forge.data,
        forge.knowledge.documents,
        forge.knowledge.document_of,
        student,
        bases.find(recipe.student_base, cache),
        {str(key): value for key, value in measured.items()},
        work / "export",
        out,
        console,
    )


def _say_sizes(forge: Forge) -> None:
    sizes = {
        part: len(getattr(forge.data, part))
        for part in ("labels", "train", "dev", "calibrate", "certify", "unseen", "outliers_train")
    }
    forge.console.print("  ".join(f"{part} {size}" for part, size in sizes.items()), highlight=False)


def _teach(forge: Forge) -> Done:
    recipe, seen = forge.recipe, forge.data
    decides = [
        seen.hashes,
        recipe.data.model_dump(),
        recipe.teacher.model_dump(),
        recipe.teacher_base.sha256,
        sorted(seen.labels),
    ]

    def make(folder: Path, report: Report) -> None:
        base = bases.find(recipe.teacher_base, forge.cache)
        numbers = forge.label_numbers
        questions = [row.text for row in seen.train], [numbers[row.category] for row in seen.train]
        made = teacher.fine_tune(
            base, questions, seen.outliers_train, len(seen.labels), recipe.teacher, recipe.data.seed, report
        )
        save_file(
            {name: value.cpu().contiguous() for name, value in made.state_dict().items()},
            folder / "teacher.safetensors",
        )

    return forge.steps.run("teacher", decides, make)


def _lessons(forge: Forge, taught: Done) -> Done:
    """The transfer set: questions, variations, outliers and knowledge, with the teacher's word on each."""
    recipe, seen = forge.recipe, forge.data
    known = forge.knowledge.before_launch(seen)
    decides = [taught.key, recipe.student.variations, recipe.student_base.sha256, [passage.plain for passage in known]]

    def make(folder: Path, report: Report) -> None:
        questions = [row.text for row in seen.train]
        varied = variations.vary(questions, recipe.student.variations, recipe.data.seed)
        passages = [passage.plain for passage in known]
        everything = [*questions, *varied, *seen.outliers_train, *passages]
        base = bases.find(recipe.teacher_base, forge.cache)
        asked = teacher.Teacher(base, len(seen.labels))
        asked.load_state_dict(load_file(taught.folder / "teacher.safetensors"))
        logits, _ = teacher.ask(asked.eval().to(teacher.device()), base, everything, report)
        reference = reference_embeddings(bases.find(recipe.student_base, forge.cache), everything)
        np.savez(folder / "lessons.npz", logits=logits, reference=reference)
        (folder / "texts.json").write_text(
            json.dumps({"texts": everything, "labelled": len(questions), "passages": len(passages)})
        )

    return forge.steps.run("lessons", decides, make)


def reference_embeddings(base: Path, everything: Sequence[str]) -> NDArray[np.float32]:
    """What the student's own base makes of the texts: the likeness that distillation keeps."""
    untouched = from_base(base, measure.all_layers(base), 2).eval()
    return measure.outputs(untouched, base, everything)[1]


def _student(forge: Forge, lessons: Done, layers: int) -> Done:
    recipe = forge.recipe
    settings = recipe.student.model_dump(exclude={"layers", "variations"})

    def make(folder: Path, report: Report) -> None:
        base = bases.find(recipe.student_base, forge.cache)
        student = distil(base, layers, _transfer(forge, lessons), recipe.student, recipe.data.seed, report)
        save_file(
            {name: value.cpu().contiguous() for name, value in student.state_dict().items()},
            folder / "student.safetensors",
        )

    return forge.steps.run(f"student-{layers}", [lessons.key, settings, layers], make)


def _transfer(forge: Forge, lessons: Done) -> TransferSet:
    kept: dict[str, Any] = json.loads((lessons.folder / "texts.json").read_text())
    arrays = np.load(lessons.folder / "lessons.npz", allow_pickle=False)
    numbers = forge.label_numbers
    labels = np.full(len(kept["texts"]), -1, np.int64)
    labels[: kept["labelled"]] = [numbers[row.category] for row in forge.data.train]
    known = forge.knowledge.before_launch(forge.data)
    stands_for = {
        forge.knowledge.document_of[label]: number
        for label, number in numbers.items()
        if label in forge.knowledge.document_of
    }
    count = kept["passages"]
    return TransferSet(
        texts=kept["texts"],
        logits=arrays["logits"],
        labels=labels,
        reference=arrays["reference"],
        passages=[passage.plain for passage in known],
        passage_reference=arrays["reference"][len(labels) - count :],
        document=np.array([stands_for.get(passage.document_id, -1) for passage in known], np.int64),
    )


def restore(forge: Forge, done: Done, layers: int) -> Student:
    """The student that a step left."""
    student = from_base(bases.find(forge.recipe.student_base, forge.cache), layers, len(forge.data.labels))
    student.load_state_dict(load_file(done.folder / "student.safetensors"))
    return student.eval()


def _measure(forge: Forge, done: Done, layers: int) -> choose.Measured:
    def make(folder: Path, report: Report) -> None:
        base = bases.find(forge.recipe.student_base, forge.cache)
        found = measure.measure(
            restore(forge, done, layers),
            base,
            forge.data,
            forge.knowledge.documents,
            forge.knowledge.document_of,
        )
        (folder / "measured.json").write_text(json.dumps(found))
        report(1, 1, "")

    decides = [done.key, [passage.plain for passage in forge.knowledge.passages]]
    made = forge.steps.run(f"measure-{layers}", decides, make)
    found: choose.Measured = json.loads((made.folder / "measured.json").read_text())
    return found


def export_single(recipe: Recipe, work: Path, cache: Path, path: Path, precision: Precision, layout: Layout) -> None:
    """Write the chosen student of a finished run as one graph. FileNotFoundError if the run has not got that far."""
    measured = {layers: work / f"measure-{layers}" / "measured.json" for layers in recipe.student.layers}
    missing = [str(file) for file in measured.values() if not file.is_file()]
    if missing:
        raise FileNotFoundError(f"no finished run in {work} ({missing[0]} is not there): gateway forge run first")
    layers = choose.best({layers: json.loads(file.read_text()) for layers, file in measured.items()})
    weights = load_file(work / f"student-{layers}" / "student.safetensors")
    student = from_base(bases.find(recipe.student_base, cache), layers, len(weights["answer.bias"]))
    student.load_state_dict(weights)
    path.parent.mkdir(parents=True, exist_ok=True)
    export.single(student.eval(), path, precision, layout)


def knowledge_of(recipe: Recipe, seen: Data) -> Knowledge:
    """The recipe's documents, and which label stands for which: the one that its slug names, unless the recipe says."""
    if not recipe.knowledge.collection:
        return Knowledge((), (), {})
    documents = read_folder(recipe.locate(recipe.knowledge.collection))
    ids = {document.id for document in documents}
    intents = {*seen.labels, *(row.category for row in seen.unseen)}
    stands_for = {intent: recipe.knowledge.documents.get(intent, slug(intent)) for intent in sorted(intents)}
    unknown = [stated for stated in recipe.knowledge.documents.values() if stated not in ids]
    if unknown:
        raise ValueError(
            f"{recipe.source}: [knowledge.documents] names {unknown[0]!r}, which the collection does not have"
        )
    return Knowledge(
        tuple(documents),
        tuple(passage for document in documents for passage in passages(document)),
        {intent: document_id for intent, document_id in stands_for.items() if document_id in ids},
    )
