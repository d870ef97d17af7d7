"""The measures of stored collections, on little of everything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from loadtest import knowledge, knowledge_command, knowledge_ends, knowledge_made
from loadtest.__main__ import main

SMALL = ("--passages", "6000", "--writes", "40", "--searches", "60", "--kills", "2", "--tenants", "3")


def test_everything_is_measured_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knowledge_ends, "REPLACED", 20)
    out = tmp_path / "knowledge.json"
    result = CliRunner().invoke(main, ["knowledge", *SMALL, "--out", str(out)])
    assert result.exit_code == 0, result.output
    found = json.loads(out.read_text())
    assert (found["kind"], found["valid"], found["seen"], found["lost"], found["torn"]) == ("knowledge", True, 40, 0, 0)
    assert found["acknowledged"] > 0
    assert found["recall"] > 0.95
    assert found["write_ms"]["p50"] > 0
    assert found["start"]["passages"] == found["start_after_kill"]["passages"] == 6000
    assert found["start"]["file_bytes"] > 3000 * 4 * knowledge_made.DIM
    assert "40 of 40" in result.output


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"lost": 2}, "2 writes were acknowledged and are gone"),
        ({"torn": 1}, "1 writes are there by half"),
        ({"seen": 39}, "1 writes were acknowledged and not seen by the next search"),
    ],
)
def test_what_must_not_happen_is_said_and_fails(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, int], fault: str
) -> None:
    async def made(plan: knowledge.Plan, folder: Path) -> dict[str, Any]:
        taken = {"p50": 1.0, "p99": 2.0}
        sound = {"passages": 2, "writes": 40, "seen": 40, "kills": 2, "acknowledged": 9, "lost": 0, "torn": 0}
        start = {"exact_seconds": 0.1, "full_speed_seconds": 0.2, "merged_seconds": 2.5, "passages": 2}
        start |= {"private_bytes": 9, "file_bytes": 0}
        more = {
            "write_ms": taken,
            "search_ms": taken,
            "search_of_one_ms": taken,
            "recall": 1.0,
            "start": start,
            "start_after_kill": start,
            "tenants": 1,
        }
        return {**sound, **more, "ingest_passages_per_second": 1.0, **changes}

    monkeypatch.setattr(knowledge_command, "measured", made)
    result = CliRunner().invoke(main, ["knowledge", "--json"])
    assert result.exit_code == 1
    assert fault in result.output


def test_versions_of_a_document_have_other_vectors() -> None:
    texts = knowledge_made.Texts()
    old, new = (f"T. {knowledge_made.document(7, version).answer}" for version in (0, 1))
    first, second, again = texts.embed([old, new, old])
    assert (first == again).all()
    assert float(first @ second) < 0.9
