"""All ways in which a knowledge base can be ended or spoiled, one after the other, and what came of each."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from gateway import failpoints
from loadtest.crash_checks import Inspector
from loadtest.crash_damage import HARMS, WRITES, harmed, made, spoiled_file, torn_log
from loadtest.crash_kills import Kind, copy, died, killed
from loadtest.crash_starved import compiled, full, unsynced

BASES = {
    "all of it in there": (1 << 20, False),
    "moved now and then": (16, False),
    "just moved, and not begun anew": (16, True),
}
"""What the log is like when it is damaged: after how many writes it is moved, and whether it is in the end."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How many tries of everything: `at_points` of each point to die at, `logs` of each kind of damage to each log,
    `bits` of the main file, `disks` that are full or fail to sync."""

    kills: int = 200
    at_points: int = 10
    logs: int = 200
    bits: int = 400
    disks: int = 20
    seed: int = 7


@dataclass(slots=True)
class Tried:
    kinds: list[Kind]
    skipped: list[str]
    faults: list[str]
    """Of what was not even damaged."""


async def tried(plan: Plan, folder: Path, tell: Callable[[str], None] = lambda name: None) -> Tried:
    """In an empty folder. `tell` hears of each kind that is done."""
    found = Tried([], [], [])
    chance = random.Random(plan.seed)  # noqa: S311 - a sample, no secret
    with Inspector() as inspector:
        for kind in killed_anywhere(plan, folder, inspector, chance):
            found.kinds.append(kind)
            tell(kind.name)
        await damaged(plan, folder, inspector, chance, found, tell)
        for kind in starved(plan, folder, inspector, chance, found):
            found.kinds.append(kind)
            tell(kind.name)
    return found


def killed_anywhere(plan: Plan, folder: Path, inspector: Inspector, chance: random.Random) -> Iterator[Kind]:
    """At random moments, and at every point that has a name."""
    yield killed(folder / "killed", inspector, plan.kills, chance)
    for point in failpoints.STORE:
        yield died(folder / point, inspector, point, plan.at_points, chance)


async def damaged(
    plan: Plan, folder: Path, inspector: Inspector, chance: random.Random, found: Tried, tell: Callable[[str], None]
) -> None:
    """Logs, the main file and all others, cut and altered."""
    for number, (name, moves) in enumerate(BASES.items()):
        live, closed = await made(folder / f"base-{number}", WRITES, *moves)
        for is_cut in (True, False):
            found.kinds.append(torn_log(live, inspector, plan.logs, chance, is_cut, name))
            tell(found.kinds[-1].name)
    sound = inspector.left(copy(closed, closed.with_name("sound")))
    found.faults += [f"of a sound store is said: {one}" for one in sound.faults]
    if sound.verified:
        found.faults.append(f"verify finds {len(sound.verified)} faults in a sound store, such as: {sound.verified[0]}")
    found.kinds.append(spoiled_file(closed, inspector, plan.bits, chance))
    tell(found.kinds[-1].name)
    for how in HARMS:
        found.kinds.append(harmed(closed, inspector, chance, how))
        tell(found.kinds[-1].name)


def starved(plan: Plan, folder: Path, inspector: Inspector, chance: random.Random, found: Tried) -> Iterator[Kind]:
    """Without room, and by syncs that fail."""
    yield full(folder / "full", inspector, plan.disks, chance)
    shim = compiled(folder)
    if isinstance(shim, str):
        found.skipped.append(f"syncs that fail: {shim}")
        return
    for once in (False, True):
        yield unsynced(folder / f"unsynced-{once}", inspector, plan.disks, chance, shim, once=once)
