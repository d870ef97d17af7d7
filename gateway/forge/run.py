"""`gateway forge run`: from a recipe to a bundle, step by step."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from safetensors.torch import load_file, save_file
from scipy.special import log_softmax

from gateway.forge import (
    bases,
    choose,
    data,
    data_checks,
    distil,
    folders,
    graph,
    knowledge,
    lineage,
    measure,
    teacher,
    variations,
)
from gateway.forge import bundle as bundling
from gateway.forge.bundle import Trained
from gateway.forge.data import Data
from gateway.forge.distil import TransferSet
from gateway.forge.encoder import Student, from_base
from gateway.forge.knowledge import Knowledge
from gateway.forge.recipes import BaseSection, Recipe, TeacherSection
from gateway.forge.shape import Shape
from gateway.forge.steps import Done, Report, Steps, is_made, key_of
from gateway.model.bundle import TOKENIZER


@dataclass(frozen=True, slots=True)
class Forge:
    """One run: the recipe with its data and knowledge, and where to work. Keys are what decides each step's result."""

    recipe: Recipe
    data: Data
    knowledge: Knowledge
    work: Path
    console: Console
    cache: Path

    @property
    def steps(self) -> Steps:
        return Steps(self.work, self.console)

    @property
    def label_numbers(self) -> dict[str, int]:
        return {label: number for number, label in enumerate(self.data.labels)}

    def base(self, section: BaseSection) -> Path:
        return bases.find(section, self.cache, self.recipe.locate)

    def teacher_decides(self, section: TeacherSection) -> list[object]:
        recipe, base = self.recipe, self.recipe.base_of(section)
        divided = recipe.data.model_dump(
            exclude={"attribution": True, "never": True, "outliers": {"__all__": {"attribution": True}}}
        )
        seen = [self.data.hashes, divided, sorted(self.data.labels)]
        return [teacher.STEP_VERSION, seen, section.model_dump(), base.sha256, base.files]

    def lessons_decides(self, taught: Sequence[str]) -> list[object]:
        base = [self.recipe.student_base.sha256, self.recipe.student_base.files]
        known = [passage.plain for passage in self.knowledge.before_launch(self.data)]
        settings = [self.recipe.student.variations, self.recipe.student.max_tokens]
        return [variations.STEP_VERSION, list(taught), settings, base, known]

    def student_decides(self, lessons: str, layers: int, sense: str = "") -> list[object]:
        settings = self.recipe.student.model_dump(exclude={"layers", "variations"})
        known = self.knowledge.before_launch(self.data)
        stands_for = [self.knowledge.document_of, [passage.document_id for passage in known]]
        return [distil.STEP_VERSION, lessons, settings, layers, stands_for, sense]

    def measure_decides(self, student: str) -> list[object]:
        plain = [passage.plain for passage in self.knowledge.passages]
        return [measure.STEP_VERSION, student, plain, self.knowledge.document_of]

    def changed(self, layers: int) -> list[str]:
        """The steps towards the student of `layers` layers that would be made anew."""
        sections = enumerate(self.recipe.teachers, 1)
        keys = {name: key_of(name, self.teacher_decides(one)) for n, one in sections if (name := f"teacher-{n}")}
        keys["lessons"] = key_of("lessons", self.lessons_decides(list(keys.values())))
        student, measured, deepest = f"student-{layers}", f"measure-{layers}", max(self.recipe.student.layers)
        if layers != deepest:
            first = f"student-{deepest}"
            keys[first] = key_of(first, self.student_decides(keys["lessons"], deepest))
            keys["sense"] = key_of("sense", [keys[first]])
        keys[student] = key_of(student, self.student_decides(keys["lessons"], layers, keys.get("sense", "")))
        keys[measured] = key_of(measured, self.measure_decides(keys[student]))
        return [name for name, key in keys.items() if not is_made(self.work, name, key)]


def run(recipe: Recipe, work: Path, out: Path, cache: Path, console: Console) -> Path:
    """Make the bundle in `out`; `work` keeps finished steps, `cache` base weights. Returns `out`.

    Raises FileNotFoundError or ValueError for the recipe's data and for the folders, bases.BaseMissing for the weights.
    """
    folders.check_out(out)
    with folders.locked(work):
        lineage.parent(recipe)  # what is wrong with it is said now, not after hours
        seen = data.load(recipe)
        forge = Forge(recipe, seen, knowledge.of(recipe, seen), work, console, cache)
        _say_sizes(forge)
        checked = data_checks.passed(recipe, seen, console)
        base = forge.base(recipe.student_base)
        _check_depths(recipe, Shape.read(base))
        lessons = _lessons(forge, [_teach(forge, number) for number in range(1, len(recipe.teachers) + 1)])
        students = _students(forge, lessons)
        measured = {layers: _measure(forge, done, layers) for layers, done in students.items()}
        layers = choose.best(measured)
        console.print(choose.table(measured, layers))
        return bundling.make(
            recipe,
            seen,
            forge.knowledge,
            trained(recipe, restore(forge, students[layers], layers), base),
            {str(key): value for key, value in measured.items()},
            checked,
            work / "export",
            out,
            console,
        )


def trained(recipe: Recipe, student: Student, base: Path) -> Trained:
    """A student that was distilled from the base in `base`."""
    teachers = dict.fromkeys(f"{one.name} sha256:{one.sha256}" for one in map(recipe.base_of, recipe.teachers))
    return Trained(
        shape=student.shape,
        weights=merged(student),
        tokenizer=base / TOKENIZER,
        logits=lambda texts: measure.outputs(student, base, texts, recipe.student.max_tokens)[0],
        base=f"{recipe.student_base.name} sha256:{recipe.student_base.sha256}",
        teacher=", ".join(teachers),
        attribution=recipe.attribution,
    )


def merged(student: Student) -> graph.Weights:
    """Its weights by graph name."""
    weights = {name: value.cpu().numpy() for name, value in student.state_dict().items()}
    return graph.merge(weights, student.shape.num_hidden_layers)


def _check_depths(recipe: Recipe, shape: Shape) -> None:
    """ValueError where the base cannot give what the recipe asks of it: said before anything is taught."""
    deepest, most = max(recipe.student.layers), shape.max_position_embeddings
    if deepest > shape.num_hidden_layers:
        raise ValueError(
            f"{recipe.source}: [student] layers: {deepest} of {recipe.student_base.name}'s {shape.num_hidden_layers}"
        )
    if recipe.student.max_tokens > most:
        raise ValueError(
            f"{recipe.source}: [student] max_tokens = {recipe.student.max_tokens}, but {recipe.student_base.name} has "
            f"positions for {most}"
        )


def _say_sizes(forge: Forge) -> None:
    sizes = {
        part: len(getattr(forge.data, part))
        for part in ("labels", "train", "dev", "calibrate", "certify", "unseen", "outliers_train")
    }
    forge.console.print("  ".join(f"{part} {size}" for part, size in sizes.items()), highlight=False)


def _teach(forge: Forge, number: int) -> Done:
    recipe, seen = forge.recipe, forge.data
    section = recipe.teachers[number - 1]

    def make(folder: Path, report: Report) -> None:
        base = forge.base(forge.recipe.base_of(section))
        numbers = forge.label_numbers
        questions = [row.text for row in seen.train], [numbers[row.category] for row in seen.train]
        made = teacher.fine_tune(
            base, questions, seen.outliers_train, len(seen.labels), section, recipe.data.seed + section.seed, report
        )
        save_file(
            {name: value.cpu().contiguous() for name, value in made.state_dict().items()},
            folder / "teacher.safetensors",
        )

    return forge.steps.run(f"teacher-{number}", forge.teacher_decides(section), make)


def _lessons(forge: Forge, taught: Sequence[Done]) -> Done:
    """The transfer set: questions, variations, outliers and knowledge, with the teachers' mean word on each."""
    recipe, seen = forge.recipe, forge.data
    known = forge.knowledge.before_launch(seen)

    def make(folder: Path, report: Report) -> None:
        questions = [row.text for row in seen.train]
        varied = variations.vary(questions, recipe.student.variations, recipe.data.seed)
        passages = [passage.plain for passage in known]
        everything = [*questions, *varied, *seen.outliers_train, *passages]
        said = [
            _ask(forge, done, section, everything, report)
            for done, section in zip(taught, recipe.teachers, strict=True)
        ]
        logits = np.mean(said, axis=0, dtype=np.float32)
        reference = reference_embeddings(forge.base(recipe.student_base), everything, recipe.student.max_tokens)
        np.savez(folder / "lessons.npz", logits=logits, reference=reference)
        (folder / "texts.json").write_text(json.dumps({"texts": everything, "labelled": len(questions)}))

    return forge.steps.run("lessons", forge.lessons_decides([done.key for done in taught]), make)


def _ask(
    forge: Forge, taught: Done, section: TeacherSection, texts: Sequence[str], report: Report
) -> NDArray[np.float32]:
    """One teacher's log-probabilities [texts, labels]: normalised, so that no teacher speaks louder than another."""
    base = forge.base(forge.recipe.base_of(section))
    asked = teacher.Teacher(base, len(forge.data.labels))
    asked.load_state_dict(load_file(taught.folder / "teacher.safetensors"))
    logits, _ = teacher.ask(asked.eval().to(teacher.device()), base, texts, report)
    return np.asarray(log_softmax(logits, axis=1), np.float32)


def reference_embeddings(base: Path, everything: Sequence[str], max_tokens: int) -> NDArray[np.float32]:
    """What the student's own base makes of the texts: the likeness that distillation keeps."""
    untouched = from_base(base, measure.all_layers(base), 2).eval()
    return measure.outputs(untouched, base, everything, max_tokens)[1]


def _students(forge: Forge, lessons: Done) -> dict[int, Done]:
    """By their layers. The deepest keeps to the base's sense of what is alike, the others to what it made of that."""
    *others, deepest = sorted(set(forge.recipe.student.layers))
    found = {deepest: _student(forge, lessons, deepest)}
    if others:
        sense = _sense(forge, lessons, found[deepest], deepest)
        found |= {layers: _student(forge, lessons, layers, sense) for layers in others}
    return found


def _sense(forge: Forge, lessons: Done, deepest: Done, layers: int) -> Done:
    """The deepest student's embeddings of the transfer set."""

    def make(folder: Path, report: Report) -> None:
        texts = json.loads((lessons.folder / "texts.json").read_text())["texts"]
        base, student = forge.base(forge.recipe.student_base), restore(forge, deepest, layers)
        _, embeddings = measure.outputs(student, base, texts, forge.recipe.student.max_tokens)
        np.save(folder / "reference.npy", embeddings)
        report(1, 1, "")

    return forge.steps.run("sense", [deepest.key], make)


def _student(forge: Forge, lessons: Done, layers: int, sense: Done | None = None) -> Done:
    recipe = forge.recipe

    def make(folder: Path, report: Report) -> None:
        base, transfer = forge.base(recipe.student_base), _transfer(forge, lessons)
        if sense:
            transfer = replace(transfer, reference=np.load(sense.folder / "reference.npy", allow_pickle=False))
        student = distil.distil(base, layers, transfer, recipe.student, recipe.data.seed, report)
        save_file(
            {name: value.cpu().contiguous() for name, value in student.state_dict().items()},
            folder / "student.safetensors",
        )

    decides = forge.student_decides(lessons.key, layers, sense.key if sense else "")
    return forge.steps.run(f"student-{layers}", decides, make)


def _transfer(forge: Forge, lessons: Done) -> TransferSet:
    kept: dict[str, Any] = json.loads((lessons.folder / "texts.json").read_text())
    arrays = np.load(lessons.folder / "lessons.npz", allow_pickle=False)
    numbers = forge.label_numbers
    labels = np.full(len(kept["texts"]), -1, np.int64)
    labels[: kept["labelled"]] = [numbers[row.category] for row in forge.data.train]
    known = forge.knowledge.before_launch(forge.data)
    by_label = np.append(forge.knowledge.numbers_by_label(forge.data.labels), -1)  # the last is for label -1
    wanted = forge.knowledge.numbers(forge.data.labels)  # before all others, which have no label
    documents = {one: at for at, one in enumerate(dict.fromkeys([*wanted, *(one.document_id for one in known)]))}
    return TransferSet(
        texts=kept["texts"],
        logits=arrays["logits"],
        labels=labels,
        wanted=by_label[labels],
        reference=arrays["reference"],
        passages=np.arange(len(kept["texts"]) - len(known), len(kept["texts"])),  # they are the last, see _lessons
        document=np.array([documents[passage.document_id] for passage in known], np.int64),
    )


def restore(forge: Forge, done: Done, layers: int) -> Student:
    """The student that a step left."""
    student = from_base(forge.base(forge.recipe.student_base), layers, len(forge.data.labels))
    student.load_state_dict(load_file(done.folder / "student.safetensors"))
    return student.eval()


def _measure(forge: Forge, done: Done, layers: int) -> choose.Measured:
    def make(folder: Path, report: Report) -> None:
        base = forge.base(forge.recipe.student_base)
        found = measure.measure(
            restore(forge, done, layers),
            base,
            forge.data,
            forge.knowledge.documents,
            forge.knowledge.document_of,
            forge.recipe.student.max_tokens,
        )
        (folder / "measured.json").write_text(json.dumps(found))
        report(1, 1, "")

    made = forge.steps.run(f"measure-{layers}", forge.measure_decides(done.key), make)
    found: choose.Measured = json.loads((made.folder / "measured.json").read_text())
    return found
