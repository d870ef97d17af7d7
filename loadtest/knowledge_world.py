"""The same passages, rights, questions and writes for every store, and what an exact search finds of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from loadtest.knowledge_made import SUBJECTS, Texts
from loadtest.vector_stores.driver import WRITE_EVERY
from loadtest.vector_stores.world import EVERYTHING, GROUPS, TOP, Asked, Matrix, Numbers, World

TOGETHER = 4096
IN_DOCUMENT = 2
"""Passages of a document, which have its tenant and its groups."""
QUESTIONS_FROM, WRITES_FROM = 10**9, 10**8
"""Numbers of texts; those of passages are below."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of everything."""

    passages: int = 100_000
    tenants: int = 50
    searches: int = 500
    """Of each kind."""
    writes: int = 1_000
    """One after the other; those between searches come on top."""


Made = tuple[World, Matrix, Matrix]
"""With the vectors at first, and in the end."""


def made(plan: Plan, folder: Path) -> Made:
    """Written into the folder too."""
    chance = np.random.default_rng(7)
    numbers = np.arange(plan.passages)
    subjects, texts = numbers // IN_DOCUMENT % SUBJECTS, Texts()
    tenants = _tenants(plan, chance)
    rights = _rights(plan, chance)
    vectors = _embedded(texts, subjects, numbers)
    between = max(1, plan.searches // WRITE_EVERY)
    written = chance.integers(plan.passages, size=plan.writes + between)
    new = _embedded(texts, subjects[written], WRITES_FROM + np.arange(len(written)))
    last = vectors.copy()
    for row, number in enumerate(written):  # in their order: one may be written twice
        last[number] = new[row]
    asked, questions = _asked(plan, tenants, rights, chance)
    world = World(folder, tenants, rights, tuple(asked), written.tolist(), plan.writes)
    world.save(vectors, new, questions)
    return world, vectors, last


def _asked(
    plan: Plan, tenants: Numbers, rights: Numbers, chance: np.random.Generator
) -> tuple[list[Asked], list[Matrix]]:
    """Of tenants with TOP passages or more that the group may read, if there are any; as often as they are large."""
    asked, questions = [], []
    sizes = np.bincount(tenants, minlength=plan.tenants)
    for at, (name, group, whose) in enumerate(_kinds()):
        told = _subjects_of(group)
        about = {"near": np.arange(told), "far": np.arange(told, SUBJECTS)}.get(whose, np.arange(SUBJECTS))
        permitted = np.bincount(tenants[(rights >> GROUPS.index(group) & 1) == 1], minlength=plan.tenants)
        shares = sizes * (permitted >= min(TOP, permitted.max()))
        asked.append(Asked(name, group, chance.choice(plan.tenants, plan.searches, p=shares / shares.sum()).tolist()))
        numbers = QUESTIONS_FROM + at * plan.searches + np.arange(plan.searches)
        questions.append(_embedded(Texts(), chance.choice(about, plan.searches), numbers))
    return asked, questions


def exact(world: World, vectors: Matrix, asked: Asked) -> list[list[int]]:
    """The nearest TOP of all that may be found, for each question; fewer where there are fewer."""
    permitted, questions = world.permitted(asked.group), world.questions(asked)
    tenants = np.array(asked.tenants)
    found: list[list[int]] = [[] for _ in asked.tenants]
    for tenant in np.unique(tenants).tolist():
        those = np.flatnonzero((world.tenants == tenant) & permitted)
        asking = np.flatnonzero(tenants == tenant)
        near = np.argsort(-(questions[asking] @ vectors[those].T), axis=1, kind="stable")[:, :TOP]
        for one, order in zip(asking.tolist(), near, strict=True):
            found[one] = those[order].tolist()
    return found


def _kinds() -> list[tuple[str, str, str]]:
    """(name, group, which questions): `near` ones are about what the group may read, `far` ones about other things."""
    kinds = [(EVERYTHING, EVERYTHING, "")]
    for group in GROUPS[1:]:
        kinds += (
            [(f"{group}-{whose}", group, whose) for whose in ("near", "far")]
            if "about" in group
            else [(group, group, "")]
        )
    return kinds


def share(group: str) -> float:
    """Of all passages, that its members may read."""
    return 1.0 if group == EVERYTHING else float(group.partition("-")[2]) / 100


def _subjects_of(group: str) -> int:
    """So many of the first subjects hold all that the group may read."""
    return max(1, round(share(group) * SUBJECTS))


def _tenants(plan: Plan, chance: np.random.Generator) -> Numbers:
    """Each about as large as the first by its place: 1, 1/2, 1/3, ..."""
    sizes = 1 / np.arange(1, plan.tenants + 1)
    picked = chance.choice(plan.tenants, size=-(-plan.passages // IN_DOCUMENT), p=sizes / sizes.sum())
    return np.repeat(picked, IN_DOCUMENT)[: plan.passages]


def _rights(plan: Plan, chance: np.random.Generator) -> Numbers:
    documents = np.arange(-(-plan.passages // IN_DOCUMENT))
    rights = np.zeros(len(documents), np.int64)
    for at, group in enumerate(GROUPS):
        rights |= _is_in(group, documents, chance).astype(np.int64) << at
    return np.repeat(rights, IN_DOCUMENT)[: plan.passages]


def _is_in(group: str, documents: Numbers, chance: np.random.Generator) -> NDArray[np.bool_]:
    if group.startswith("about"):
        told = _subjects_of(group)
        every = round(told / SUBJECTS / share(group))  # of one subject a part, where all of it is too much
        return np.asarray((documents % SUBJECTS < told) & (documents // SUBJECTS % every == 0), np.bool_)
    return np.asarray(chance.random(len(documents)) < share(group), np.bool_)


def _embedded(texts: Texts, subjects: Numbers, numbers: Numbers) -> Matrix:
    names = [f"T. About {subject}-{number} here." for subject, number in zip(subjects, numbers, strict=True)]
    return np.concatenate([texts.embed(names[at : at + TOGETHER]) for at in range(0, len(names), TOGETHER)])
