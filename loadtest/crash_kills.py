"""A process that writes is killed: at random moments, and where `failpoints` can name them."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from loadtest.crash_checks import Inspector, Left

LONGEST = 60
"""Writes until a kill."""
BETWEEN = 0.006
"""Seconds after the last of those, at most: that is some time within the next."""
ENOUGH = 400
"""Writes in which every point is reached."""
FAULTS, FAULTS_OF_A_TRY = 20, 3
"""That are told in words."""


FAULT = "FAULT"


@dataclass(slots=True)
class Kind:
    """What came of all tries of one kind. `acknowledged`: writes, `lost` of those."""

    name: str
    tries: int = 0
    acknowledged: int = 0
    lost: int = 0
    came: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def fault(self, *said: str, how: str = FAULT) -> None:
        self.came[how] += 1
        told = [f"{self.name}: {' '.join(one.split())}" for one in dict.fromkeys(said)][:FAULTS_OF_A_TRY]
        self.faults += told[: max(0, FAULTS - len(self.faults))]


@dataclass(frozen=True, slots=True)
class Said:
    """What a process told until it ended: the next write, and other lines."""

    following: int
    others: list[str]
    code: int


def process(work: str, folder: Path, at: int, *more: int, **environment: str) -> subprocess.Popen[str]:
    command = (sys.executable, "-m", "loadtest.crash_writer", work, str(folder), str(at), *map(str, more))
    return subprocess.Popen(  # noqa: S603 - our own
        command, stdout=subprocess.PIPE, text=True, env=os.environ | environment
    )


def heard(running: subprocess.Popen[str], at: int) -> Said:
    """To its end."""
    with running:
        assert running.stdout is not None
        following, others = _read(running.stdout, at)
    return Said(following, others, running.returncode)


def _read(lines: IO[str], at: int) -> tuple[int, list[str]]:
    others = []
    for line in lines:
        what, _, rest = line.rstrip("\n").partition(" ")
        if what == "done":
            at = int(rest) + 1
        else:
            others.append(line.rstrip("\n"))
    return at, others


def killed(folder: Path, inspector: Inspector, kills: int, chance: random.Random) -> Kind:
    """One folder, again and again."""
    kind = Kind("kill at a random moment", kills)
    at = 0
    for _ in range(kills):
        before = at
        with process("on", folder, at, ENOUGH) as running:
            assert running.stdout is not None
            for _ in range(chance.randint(1, LONGEST)):
                if line := running.stdout.readline():
                    at = int(line.split()[1]) + 1
            time.sleep(chance.uniform(0, BETWEEN))
            running.kill()
            at, _ = _read(running.stdout, at)
        kind.acknowledged += at - before
        at = after_a_kill(kind, inspector.left(folder), at)
    return kind


def died(folder: Path, inspector: Inspector, point: str, times: int, chance: random.Random) -> Kind:
    """At that point, so often, and some writes on each time."""
    kind = Kind(f"kill at {point}", times)
    at = 0
    for _ in range(times):
        at = heard(process("on", folder, at, chance.randint(1, LONGEST)), at).following
        said = heard(process("on", folder, at, ENOUGH, GATEWAY_FAILPOINTS=f"{point}=kill"), at)
        kind.acknowledged += said.following - at
        if said.code == 0:
            kind.fault("was never reached")
        at = after_a_kill(kind, inspector.left(folder), said.following)
    return kind


def after_a_kill(kind: Kind, left: Left, acknowledged: int) -> int:
    """Count what is wrong. How many writes are there: all that were acknowledged, and perhaps the next one."""
    faults = left.faults + ([f"is not opened: {left.refused}"] if left.refused else [])
    lost = max(0, acknowledged - left.writes)
    kind.lost += lost
    if lost:
        faults.append(f"{lost} writes that were acknowledged are gone")
    if left.writes > acknowledged + 1:
        faults.append(f"{left.writes} writes are there, {acknowledged} were acknowledged")
    if faults:
        kind.fault(*faults)
    else:
        kind.came["the last write is there" if left.writes > acknowledged else "to the last that was acknowledged"] += 1
    return left.writes


def copy(folder: Path, to: Path) -> Path:
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(folder, to)
    return to
