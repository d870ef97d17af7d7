"""The proof that nobody is shown what is not for them: it finds nothing, and it finds what is broken."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from gateway.knowledge import base, generation, hybrid
from gateway.knowledge.changes import Batch, Create, Put
from gateway.knowledge.generation import Part
from gateway.knowledge.segment import Segment
from gateway.knowledge.store import Store
from gateway.types import Document, Principal
from loadtest.__main__ import main
from loadtest.leaks import Tally, found

CASES = 1500


async def keeps_dates(folder: Path) -> bool:
    """Whether a store gives back from when until when a document counts."""
    store = Store(folder)
    document = Document("a", "A", "", "", "A.", "A.\n", frozenset(), 5.0, 9.0)
    await store.write(Batch("t", "c", (Create(), Put(document))))
    kept = store.documents("t", "c")[0].document
    store.close()
    return kept == document


async def test_nothing_leaks(tmp_path: Path) -> None:
    has_dates = await keeps_dates(tmp_path / "probe")
    tally = await found(CASES, 3, tmp_path / "world", has_dates)
    assert (tally.leaks, tally.described) == (0, [])
    assert tally.cases.total() == CASES
    assert all(tally.cases[kind] for kind in ("hybrid", "dense", "lexical", "rank", "read", "standing", "citation"))
    assert tally.steps["restart"] + tally.steps["crash"] > 0
    assert min(tally.graphs, tally.masked, tally.several) > 0


def no_rights(part: Part, principal: Principal, now: float) -> Any:
    return part.alive


def break_masks(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Part, "allowed", no_rights)


def break_superseding(patch: pytest.MonkeyPatch) -> None:
    """What is replaced or deleted goes on to count."""
    patch.setattr(Part, "without", lambda part, ids: part)


def break_shared_pages(patch: pytest.MonkeyPatch) -> None:
    """Words are heard of documents that the caller may not read."""
    shared = hybrid._coverage
    patch.setattr(
        hybrid, "_coverage", lambda parts, terms, allowed, ranker: shared(parts, terms, [None] * len(parts), ranker)
    )


def break_following(patch: pytest.MonkeyPatch) -> None:
    async def nothing(self: base.KnowledgeBase) -> None: ...

    patch.setattr(base.KnowledgeBase, "follow", nothing)


def break_tenants(patch: pytest.MonkeyPatch) -> None:
    for where in ("loadtest.leak_cases.key", "gateway.knowledge.base.key"):
        patch.setattr(where, lambda tenant, name: f"all/{name}")


def break_recall(patch: pytest.MonkeyPatch) -> None:
    whole = Segment.nearest
    patch.setattr(Segment, "nearest", lambda *given, **more: tuple(one[1:] for one in whole(*given, **more)))


@pytest.mark.parametrize(
    "broken", [break_masks, break_superseding, break_shared_pages, break_following, break_tenants, break_recall]
)
async def test_what_is_broken_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: Callable[[pytest.MonkeyPatch], None]
) -> None:
    broken(monkeypatch)
    # Where merges fall no seed decides, and the rarest of these is then found in one case of 300.
    tally: Tally = await found(2 * CASES, 3, tmp_path, has_dates=False)
    assert tally.leaks > 0
    assert tally.described[0]["wrong"]


async def test_dates_that_are_not_heeded_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Segment, "in_time", lambda segment, now: None)
    assert (await found(CASES // 2, 3, tmp_path)).leaks > 0


def test_the_command_tells_what_it_did_and_fails_where_something_leaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, before = tmp_path / "leaks.json", generation.OPEN_ROWS
    result = CliRunner().invoke(main, ["leaks", "--cases", "300", "--no-dates", "--out", str(out)])
    assert result.exit_code == 0, result.output
    told = json.loads(out.read_text())
    assert (told["kind"], told["cases"], told["leaks"], told["valid"]) == ("leaks", 300, 0, True)
    assert before == generation.OPEN_ROWS  # as it was
    break_masks(monkeypatch)
    broken = CliRunner().invoke(main, ["leaks", "--cases", "300", "--no-dates"])
    assert broken.exit_code == 1
    assert "was shown" in broken.output
