"""`gateway evaluate`: which questions count as what, and what is refused before anything is measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway.cli import evaluate
from gateway.cli.main import cli
from gateway.forge.evaluate import IN_SCOPE, UNSEEN, Case, cases
from gateway.forge.texts import Labelled
from tests import tiny
from tests.test_assembly import ARTICLE


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    rows = [f"{text},{label}," for text, label in zip(tiny.questions(9), tiny.LABELS * 3, strict=True)]
    path = tmp_path / "questions.csv"
    path.write_text("\n".join(["text,category,document", *rows, "word1 word2,,yellow", ""]))
    return path


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["evaluate", "--device", "cpu", *map(str, arguments)])


@pytest.mark.parametrize(
    ("row", "case"),
    [
        (Labelled("a", "red", "yellow"), Case("a", IN_SCOPE, "red", "yellow")),
        (Labelled("a", "new", "yellow"), Case("a", UNSEEN, "", "yellow")),
        (Labelled("a", "", "yellow"), Case("a", UNSEEN, "", "yellow")),
        (Labelled("a", "red"), Case("a", IN_SCOPE, "red", "red")),
    ],
)
def test_a_named_document_is_the_right_one(row: Labelled, case: Case) -> None:
    assert cases([row], {"red": "red"}, ["red", "yellow"]) == [case]


def test_files_of_one_name_are_groups_of_their_own() -> None:
    assert evaluate.groups_of(["a/x.txt", "b/x.txt", "b/y.txt", "c.json#oos"]) == {
        "a/x.txt": "a/x.txt",
        "b/x.txt": "b/x.txt",
        "b/y.txt": "y.txt",
        "c.json#oos": "c.json#oos",
    }


def test_a_file_that_cannot_be_written_is_found_before_measuring(bundle: Path, tmp_path: Path) -> None:
    result = run("--bundle", bundle, "--questions", tmp_path / "absent.csv", "--json", tmp_path / "no" / "x.json")
    assert result.exit_code == 2
    assert "cannot be written" in result.output


def test_documents_that_are_not_there_are_missed(bundle: Path, questions: Path, tmp_path: Path) -> None:
    out = tmp_path / "found.json"
    result = run("--bundle", bundle, "--questions", questions, "--json", out)
    assert result.exit_code == 0, result.output
    assert "no documents found by the bundle's recipe" in result.output
    assert "--knowledge" in result.output
    found = json.loads(out.read_text())
    assert "end_to_end" not in found
    assert {"processor", "system", "commit", "bundle"} <= set(found["machine"])


def test_with_documents_every_way_is_compared(
    bundle: Path, questions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "articles"
    folder.mkdir()
    for name in ("red", "yellow"):
        (folder / f"{name}.md").write_text(ARTICLE.format(id=name))
    result = run("--bundle", bundle, "--questions", questions, "--knowledge", folder, "--json", "-")
    assert result.exit_code == 0, result.output
    assert json.loads(result.output)["end_to_end"]["cascade"]["all"]["questions"] == 10


def test_a_split_is_measured_with_what_is_refused_of_others(bundle: Path, tmp_path: Path) -> None:
    data = tmp_path / "data.json"
    asked = [[text, label] for text, label in zip(tiny.questions(9), tiny.LABELS * 3, strict=True)]
    data.write_text(json.dumps({"val": asked, "oos_val": [[text, "oos"] for text in tiny.questions(5, seed=3)]}))
    arguments = ("--bundle", bundle, "--questions", f"{data}#val", "--oos", f"{data}#oos_val")
    result = run(*arguments, "--json", "-")
    assert result.exit_code == 0, result.output
    found = json.loads(result.output[result.output.index("{") :])["model"]
    assert found["questions"] == {IN_SCOPE: 9, "data.json#oos_val": 5}
    assert found["refusal"]["accuracy"] <= found["accuracy"]
    assert set(found["refusal"]["recall"]) == {"data.json#oos_val"}
    printed = run(*arguments).output
    assert "refused as out of scope below" in printed
    assert "data.json#oos_val: refused" in printed
