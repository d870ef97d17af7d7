"""A disk that is full, and one that does not keep what it was given: nothing is acknowledged that is not there."""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path

from gateway.knowledge.file import FILE
from loadtest.crash_checks import Inspector, Left
from loadtest.crash_kills import ENOUGH, Kind, Said, heard, process

ROOM = (20_000, 400_000)
"""Bytes beyond those of the main file."""
FIRST_SYNCS = 60
"""After so many at most, syncs fail."""
ALLOWED = ("StoreFull", "StoreFailed")
SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

static atomic_int begun, done;

/* Whether this one fails: those from the FIRST on, ONCE: that one alone. */
static int fails(void) {
    const char *first = getenv("SYNC_FAILS_FROM"), *once = getenv("SYNC_FAILS_ONCE");
    int number = atomic_fetch_add(&begun, 1);
    if (!first) return 0;
    return once ? number == atoi(first) : number >= atoi(first);
}

static int synced(const char *name, int descriptor) {
    if (fails()) { errno = EIO; return -1; }
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    int result = real(descriptor);
    if (!result) atomic_fetch_add(&done, 1);
    return result;
}

int fsync(int descriptor) { return synced("fsync", descriptor); }
int fdatasync(int descriptor) { return synced("fdatasync", descriptor); }
int syncs_done(void) { return atomic_load(&done); }
"""


def full(folder: Path, inspector: Inspector, tries: int, chance: random.Random) -> Kind:
    kind = Kind("full disk", tries)
    for number in range(tries):
        here = folder / str(number)
        at = heard(process("on", here, 0, chance.randint(1, 40)), 0).following
        limit = (here / FILE).stat().st_size + chance.randint(*ROOM)
        said = heard(process("starved", here, at, 10 * ENOUGH, limit), at)
        kind.acknowledged += said.following
        _judge(kind, said, inspector.left(here), must_fail=True)
        shutil.rmtree(here)
    return kind


def compiled(folder: Path) -> Path | str:
    """The shim, or why there is none."""
    compiler = shutil.which("cc")
    if compiler is None:
        return "there is no C compiler (cc)"
    source, shim = folder / "shim.c", folder / "shim.so"
    source.write_text(SHIM)
    made = subprocess.run(  # noqa: S603 - our own
        (compiler, "-shared", "-fPIC", "-O1", "-o", str(shim), str(source), "-ldl"), capture_output=True, text=True
    )
    return f"cc failed: {made.stderr[:200]}" if made.returncode else shim


def unsynced(folder: Path, inspector: Inspector, tries: int, chance: random.Random, shim: Path, *, once: bool) -> Kind:
    """Syncs fail, from one on or that one alone."""
    kind = Kind("a sync that fails" if once else "syncs that fail from one on", tries)
    more = {"SYNC_FAILS_ONCE": "1"} if once else {}
    for number in range(tries):
        here, first = folder / str(number), str(chance.randint(0, FIRST_SYNCS))
        running = process("unsynced", here, 0, ENOUGH // 4, LD_PRELOAD=str(shim), SYNC_FAILS_FROM=first, **more)
        said = heard(running, 0)
        kind.acknowledged += said.following
        _judge(kind, said, inspector.left(here), must_fail=not once)
        shutil.rmtree(here)
    return kind


def _judge(kind: Kind, said: Said, left: Left, must_fail: bool) -> None:
    """All that was acknowledged is there, nothing was acknowledged that was not synced, and errors are the store's."""
    failed = [one.removeprefix("failed ") for one in said.others if one.startswith("failed")]
    faults = [f"raised {one}" for one in failed if one.split()[0] not in ALLOWED]
    faults += [
        f"write {one.split()[1]} was acknowledged without a sync" for one in said.others if one.startswith("unsynced")
    ]
    faults += ["what was there could not be read"] if "read False" in said.others else []
    faults += [f"the process ended with {said.code}"] if said.code else []
    faults += ["nothing failed"] if must_fail and not failed else []
    faults += left.faults + ([f"is not opened: {left.refused}"] if left.refused else [])
    if left.writes < said.following:
        kind.lost += said.following - left.writes
        faults.append(f"{said.following - left.writes} writes that were acknowledged are gone")
    if left.writes > said.following + 1:
        faults.append(f"{left.writes} writes are there, {said.following} were acknowledged")
    if faults:
        kind.fault(*faults)
    else:
        kind.came[f"{failed[-1].split()[0]}, all there" if failed else "nothing was noticed, all there"] += 1
