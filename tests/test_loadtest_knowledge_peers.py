"""Stored collections beside other stores, on little of everything. The others are played by a script."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from loadtest import knowledge_made, knowledge_peers, knowledge_world
from loadtest.__main__ import main
from loadtest.knowledge_world import Plan
from loadtest.vector_stores.world import GROUPS, TOP, World

SMALL = Plan(passages=4000, tenants=4, searches=40, writes=20)
FEW = ("--passages", "4000", "--tenants", "4", "--searches", "40", "--writes", "20")
FAKE = """#!{python}
import json, pathlib, sys
if sys.argv[1] == "-c":  # asked what it lacks
    print(*{lacks})
    sys.exit()
name, folder = sys.argv[3], pathlib.Path(sys.argv[4])
told = json.loads((folder / "asked.json").read_text())
hits = {{one["name"]: [[0] for _ in one["tenants"]] for one in told["asked"]}}
ms = {{"p50": 1.0, "p99": 2.0}}
found = {{"asked": {{one: {{"ms": ms, "hits": those}} for one, those in hits.items()}}, "write_ms": ms}}
(folder / (name + ".json")).write_text(json.dumps(found))
print("a long story", file=sys.stderr)
sys.exit("the disk is full")
"""


def fake(folder: Path, lacks: tuple[str, ...] = ()) -> Path:
    """An interpreter that answers each question with passage 0, and fails after the first writes."""
    path = folder / "python"
    path.write_text(FAKE.format(python=sys.executable, lacks=lacks))
    path.chmod(0o755)
    return path


@pytest.fixture(scope="module")
def world_made(tmp_path_factory: pytest.TempPathFactory) -> knowledge_world.Made:
    return knowledge_world.made(SMALL, tmp_path_factory.mktemp("world"))


def test_vectors_are_those_of_the_collections_own_measure(world_made: knowledge_world.Made) -> None:
    _, vectors, _ = world_made
    document = knowledge_made.document(7)
    texts = [f"T. {document.answer}", f"T. {document.text.split(chr(10))[2]}"]
    assert (vectors[14:16] == knowledge_made.Texts().embed(texts)).all()
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_a_folder_holds_the_whole_world(world_made: knowledge_world.Made) -> None:
    world, vectors, last = world_made
    again = World.load(world.folder)
    assert (again.vectors() == vectors).all()
    assert (again.tenants == world.tenants).all()
    assert (again.rights == world.rights).all()
    assert (again.asked, again.written, again.alone) == (world.asked, world.written, 20)
    assert len(again.new()) == len(world.written) == 20 + 2
    assert (last[world.written[-1]] == again.new()[-1]).all()
    untouched = np.setdiff1d(np.arange(len(vectors)), world.written)
    assert (last[untouched] == vectors[untouched]).all()


def test_tenants_differ_in_size_and_groups_in_what_they_may_read(tmp_path: Path) -> None:
    world, _, _ = knowledge_world.made(Plan(passages=40_000, tenants=4, searches=20, writes=1), tmp_path)
    sizes = np.bincount(world.tenants)
    assert sizes[0] > 1.5 * sizes[1] > 1.5 * sizes[3] > 0
    for group in GROUPS:
        assert world.permitted(group).mean() == pytest.approx(knowledge_world.share(group), rel=0.7)
    subjects = np.arange(40_000) // 2 % knowledge_made.SUBJECTS
    assert set(subjects[world.permitted("about-1")]) == {0, 1}
    assert len(set(subjects[world.permitted("some-1")])) > 100
    assert (world.rights[::2] == world.rights[1::2]).all()  # of one document
    assert world.groups(0) == [one for one in GROUPS if world.permitted(one)[0]]


def test_questions_near_a_group_are_about_what_it_reads_and_far_ones_are_not(
    world_made: knowledge_world.Made,
) -> None:
    world, vectors, _ = world_made
    asked = {one.name: one for one in world.asked}
    rows = vectors[world.permitted("about-1")]
    near, far = ((world.questions(asked[f"about-1-{which}"]) @ rows.T).max(axis=1) for which in ("near", "far"))
    assert near.min() > far.max()


def test_exact_search_is_of_one_tenant_and_of_what_the_group_may_read(world_made: knowledge_world.Made) -> None:
    world, vectors, _ = world_made
    for asked in world.asked:
        found = knowledge_world.exact(world, vectors, asked)
        for question, tenant, hits in list(zip(world.questions(asked), asked.tenants, found, strict=True))[:5]:
            may = world.permitted(asked.group) & (world.tenants == tenant)
            scores = np.where(may, vectors @ question, -2)
            assert len(hits) == min(TOP, int(may.sum()))
            assert scores[hits] == pytest.approx(sorted(scores)[::-1][: len(hits)])


def test_ours_is_measured_and_right(tmp_path: Path) -> None:
    out = tmp_path / "found.json"
    result = CliRunner().invoke(
        main, ["knowledge-peers", *FEW, "--only", "ours", "--only", "hnswlib", "--out", str(out)]
    )
    assert result.exit_code == 0, result.output
    found = json.loads(out.read_text())
    assert (found["kind"], found["valid"], found["passages"]) == ("knowledge-peers", True, 4000)
    assert sum(found["tenants"]) == 4000
    ours = found["stores"]["ours"]
    assert ours["failure"] == ""
    assert {one["recall"] for one in ours["asked"].values()} == {1.0}  # all by scan at this size
    assert (ours["seen"], ours["looked_for"], ours["after"]["recall"]) == (2, 2, 1.0)
    assert min(knowledge_peers.values(ours).values()) > 0
    assert found["ratios"]["hnswlib"].keys() == knowledge_peers.values(found["stores"]["hnswlib"]).keys()
    assert "about-0.1-far" in result.output


def test_a_store_that_fails_is_reported_as_that_with_what_it_found(tmp_path: Path) -> None:
    out = tmp_path / "found.json"
    command = ["knowledge-peers", *FEW, "--only", "ours", "--only", "qdrant", "--python", str(fake(tmp_path))]
    result = CliRunner().invoke(main, [*command, "--out", str(out)])
    assert result.exit_code == 0, result.output  # ours is sound
    found = json.loads(out.read_text())
    qdrant = found["stores"]["qdrant"]
    assert qdrant["failure"] == "the disk is full"
    assert qdrant["asked"]["all"]["short"] == 40
    assert qdrant["asked"]["some-0.1"]["forbidden"] > 0
    assert found["ratios"]["qdrant"]["write_p50"] == pytest.approx(
        1 / found["stores"]["ours"]["write_ms"]["p50"], rel=0.01
    )
    assert "qdrant failed: the disk is full" in found["warnings"]
    assert "qdrant, all: 40 searches gave fewer hits than there were to be found" in found["warnings"]
    assert "40 short" in result.output


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"failure": "gone"}, "ours failed: gone"),
        ({"seen": 1}, "ours: 1 writes were not seen by the next search"),
        ({"after": {"short": 0, "forbidden": 3}}, "ours, after writes: 3 hits that the caller may not see"),
    ],
)
def test_what_must_not_happen_to_ours_is_a_fault(changes: dict[str, Any], fault: str) -> None:
    sound = {"failure": "", "seen": 2, "looked_for": 2, "asked": {"all": {"short": 0, "forbidden": 0}}}
    assert knowledge_peers.faults({"stores": {"ours": sound}}) == []
    assert knowledge_peers.faults({"stores": {"ours": sound | changes}}) == [fault]
    assert knowledge_peers.warnings({"stores": {"ours": sound | changes}}) == []


def test_what_is_not_installed_is_said_in_one_line(tmp_path: Path) -> None:
    lacking = str(fake(tmp_path, ("psycopg",)))
    nowhere = str(tmp_path / "nothing")
    said = {
        (): "--python",
        ("--python", lacking): f"{lacking} lacks psycopg[binary]: python3 -m venv",
        ("--python", nowhere): f"{nowhere} does not run",
    }
    for arguments, line in said.items():
        result = CliRunner().invoke(main, ["knowledge-peers", *arguments])
        assert result.exit_code == 2
        assert line in result.output
        assert "pip install" in result.output
        assert result.output.count("\n") == 1


def test_other_stores_are_measured_without_the_gateway() -> None:
    code = (
        "import sys, loadtest.vector_stores.driver, loadtest.vector_stores.naive;"
        "print([one for one in sys.modules if one.split('.')[0] == 'gateway'])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"
