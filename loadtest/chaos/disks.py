"""Tests 3, 4, 5 and 9: the knowledge base is killed; its disk fails, is full, and does not give back what it got."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from gateway.client import CallFailed, Editor
from gateway.types import Document, Principal
from loadtest import crashes
from loadtest.chaos.neighbours import neighbours
from loadtest.chaos.serving import Served, served, started, stored, until
from loadtest.chaos.verdicts import Lacking, Terms, Verdict
from loadtest.crash_checks import Inspector
from loadtest.crash_kills import Kind
from loadtest.crashes import Plan, Tried

PLACE = Principal("acme")
NOTES = "notes"
TO_READY = 5.0
"""Seconds until a gateway that was killed is ready again; the collections here are small."""
REFUSED = {"RESOURCE_EXHAUSTED", "UNAVAILABLE"}
RECOVERED = 5.0
"""Seconds after which a disk with room again is written to."""
DISK = "8m"
LARGE = "x" * 20_000
"""The body of a document that fills a disk."""


async def killed(terms: Terms) -> Verdict:
    verdict = Verdict()
    plan = Plan(kills=terms.of(3, 200), at_points=terms.of(1, 10), seed=terms.seed)
    _tell(verdict, await asyncio.to_thread(_kinds, "kills", plan, terms.folder / "alone"))
    folder, acknowledged, lost = terms.folder / "served", 0, 0
    for number in range(terms.of(1, 20)):
        async with _served_until_killed(terms, folder) as gateway:
            told = await _written_until_killed(gateway, random.Random(number))  # noqa: S311 - a sample, no secret
        began = time.monotonic()
        async with served(terms, environment=stored(folder)) as gateway:
            seconds = time.monotonic() - began
            there = await asyncio.to_thread(_there, gateway, told)
        acknowledged, lost = acknowledged + len(told), lost + len(told) - there
        verdict.check_time(terms, seconds <= TO_READY, f"ready {seconds:.1f} s after its start")
    verdict.saw(f"a gateway killed while it writes: {acknowledged} acknowledged, {lost} lost; ready in {seconds:.1f} s")
    verdict.check(lost == 0, f"{lost} acknowledged documents are gone")
    verdict.check(acknowledged > 0, "nothing was acknowledged, so nothing could be lost")
    return verdict


@asynccontextmanager
async def _served_until_killed(terms: Terms, folder: Path) -> AsyncIterator[Served]:
    gateway = started(terms, environment=stored(folder))
    try:
        await gateway.process.ready(gateway.is_ready)
        yield gateway
    finally:
        await asyncio.to_thread(gateway.process.stop)


async def _written_until_killed(gateway: Served, chance: random.Random) -> list[str]:
    """Ids that were acknowledged before it was killed with SIGKILL."""
    told: list[str] = []

    def write() -> None:
        with Editor(gateway.target, PLACE, timeout=5.0) as editor, contextlib.suppress(CallFailed):
            editor.create(NOTES)
            while True:
                name = f"d{time.monotonic_ns()}"
                editor.upsert(NOTES, [_document(name)])
                told.append(name)

    writing = asyncio.create_task(asyncio.to_thread(write))
    await until(lambda: len(told) >= 5 or writing.done(), 30.0)
    await asyncio.sleep(chance.uniform(0, 0.3))
    os.kill(gateway.process.pid, signal.SIGKILL)
    await writing
    return told


def _there(gateway: Served, names: Sequence[str]) -> int:
    with Editor(gateway.target, PLACE) as editor:
        found = {one.document.id for one in editor.list(NOTES)}
    return sum(one in found for one in names)


async def failing(terms: Terms) -> Verdict:
    verdict = Verdict()
    plan = Plan(disks=terms.of(2, 20), seed=terms.seed)
    _tell(verdict, await asyncio.to_thread(_kinds, "disks", plan, terms.folder / "alone"))
    async with served(terms, environment=stored(terms.folder / "served")) as gateway:
        async with neighbours(terms, gateway.target) as found:
            codes = await asyncio.to_thread(_refused, gateway, verdict)
        verdict.saw(f"writes while the disk fails: {dict(codes)}; {found.said()}")
        verdict.check(set(codes) <= REFUSED, f"writes ended by {dict(codes)}")
        verdict.check(found.failed == 0, f"readers were refused: {dict(found.codes)}")
    return verdict


def _refused(gateway: Served, verdict: Verdict) -> Counter[str]:
    """What writes end by while a commit fails in each way."""
    codes = Counter[str]()
    with Editor(gateway.target, PLACE, timeout=3.0) as editor:
        editor.create(NOTES)
        editor.upsert(NOTES, [_document("before")])
        for name in ("ENOSPC", "EIO", "EROFS", "EDQUOT"):
            assert hasattr(errno, name)
            gateway.fail(f"before-commit=errno:{name}")
            time.sleep(0.1)
            codes[_code(editor, _document(name))] += 1
            gateway.fail("")
            time.sleep(0.1)
        with contextlib.suppress(CallFailed):
            kept = {one.document.id for one in editor.list(NOTES)}
            verdict.check(kept == {"before"}, f"of refused writes there are {sorted(kept - {'before'})}")
    return codes


def _code(editor: Editor, document: Document) -> str:
    try:
        editor.upsert(NOTES, [document])
    except CallFailed as error:
        return error.code
    return "OK"


async def full(terms: Terms) -> Verdict:
    verdict = Verdict()
    with _small_disk(terms.folder / "disk") as disk:
        filler, data = disk / "filler", disk / "data"
        filler.write_bytes(b"x" * (4 << 20))
        async with served(terms, environment=stored(data)) as gateway, neighbours(terms, gateway.target) as found:
            told, code = await asyncio.to_thread(_filled, gateway)
            verdict.saw(f"{len(told)} documents until {code}")
            verdict.check(code in REFUSED, f"a write to a full disk ended by {code}")
            filler.unlink()
            seconds = await asyncio.to_thread(_recovered, gateway, told)
            verdict.saw(f"written to {seconds:.2f} s after there was room again")
            verdict.check(seconds <= terms.of(30.0, RECOVERED), f"written to after {seconds:.1f} s")
        verdict.saw(found.said())
        verdict.check(found.failed == 0, f"readers were refused: {dict(found.codes)}")
        async with served(terms, environment=stored(data)) as gateway:
            there = await asyncio.to_thread(_there, gateway, told)
        verdict.saw(f"after a restart {there} of {len(told)} acknowledged documents are there")
        verdict.check(there == len(told), f"{len(told) - there} acknowledged documents are gone")
    return verdict


@contextmanager
def _small_disk(at: Path) -> Iterator[Path]:
    """A tmpfs of DISK. Raises Lacking where none may be mounted."""
    at.mkdir()
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        raise Lacking("a small disk takes root, to mount a tmpfs")
    command = (mount, "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(at))
    done = subprocess.run(command, capture_output=True, text=True)  # noqa: S603 - our own
    if done.returncode:
        raise Lacking(f"no tmpfs can be mounted: {done.stderr.strip()}")
    try:
        yield at
    finally:
        subprocess.run(("umount", str(at)), check=True)  # noqa: S603, S607 - as above


def _filled(gateway: Served) -> tuple[list[str], str]:
    """Ids that were acknowledged, and the code by which the first was not."""
    told: list[str] = []
    with Editor(gateway.target, PLACE, timeout=10.0) as editor:
        editor.create(NOTES)
        while (code := _code(editor, _document(f"d{len(told)}", LARGE))) == "OK":
            told.append(f"d{len(told)}")
    return told, code


def _recovered(gateway: Served, told: list[str]) -> float:
    """Seconds until a document is taken again; at most a minute."""
    began = time.monotonic()
    with Editor(gateway.target, PLACE, timeout=10.0) as editor:
        while time.monotonic() - began < 60:
            if _code(editor, _document("again", LARGE)) == "OK":
                told.append("again")
                return time.monotonic() - began
            time.sleep(0.1)
    return float("inf")


async def damaged(terms: Terms) -> Verdict:
    verdict = Verdict()
    plan = Plan(logs=terms.of(2, 1000), bits=terms.of(4, 4000), seed=terms.seed)
    folder, found = terms.folder / "damage", Tried([], [], [])
    folder.mkdir()
    with Inspector() as inspector:
        chance = random.Random(plan.seed)  # noqa: S311 - a sample, no secret
        await crashes.damaged(plan, folder, inspector, chance, found, lambda _: None)
    verdict.faults += [*found.faults, *(fault for one in found.kinds for fault in one.faults)]
    came = sum((one.came for one in found.kinds), Counter[str]())
    tries = sum(one.tries for one in found.kinds)
    verdict.saw(
        f"{tries} files damaged in {len(found.kinds)} ways: {', '.join(f'{n} {how}' for how, n in came.items())}"
    )
    return verdict


def _kinds(what: str, plan: Plan, folder: Path) -> list[Kind]:
    folder.mkdir()
    chance = random.Random(plan.seed)  # noqa: S311 - a sample, no secret
    with Inspector() as inspector:
        if what == "kills":
            return list(crashes.killed_anywhere(plan, folder, inspector, chance))
        return list(crashes.starved(plan, folder, inspector, chance, Tried([], [], [])))


def _tell(verdict: Verdict, kinds: Sequence[Kind]) -> None:
    tries, acknowledged = sum(one.tries for one in kinds), sum(one.acknowledged for one in kinds)
    lost = sum(one.lost for one in kinds if not one.name.startswith("log"))
    verdict.saw(f"{tries} tries of {len(kinds)} kinds: {acknowledged} writes acknowledged, {lost} of them lost")
    verdict.faults += [fault for one in kinds for fault in one.faults]


def _document(name: str, body: str = "A note.") -> Document:
    return Document(name, f"Note {name}", "", "", "A note.", f"A note.\n\n{body}")
