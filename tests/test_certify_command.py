"""`gateway certify`: a new certificate from what lies in the bundle, and nothing else of it changes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway.cli.main import cli
from gateway.forge import folders
from gateway.model import bundle as bundles
from gateway.registry import promotion
from tests import tiny


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny.write(tmp_path / "tiny")


def certify(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["certify", *map(str, arguments)], catch_exceptions=False)


def test_a_bundle_is_certified_anew(folder: Path) -> None:
    before = bundles.load(folder)
    tiny.rewrite(folder, tiny.manifest(folder).model_copy(update={"data": {"other.csv": "1" * 64}}))
    assert bundles.load(folder).uncertified
    done = certify(folder, "--json")
    assert done.exit_code == 0
    after = bundles.load(folder)
    assert after.uncertified == ""
    assert json.loads(done.output) == tiny.certificate(folder).model_dump(mode="json")
    # Of those that are sure, all are right; of all, a tenth is wrong.
    operating = tiny.certificate(folder).variants["int8"].alone.operating
    assert (operating.value, operating.accepted, operating.wrong) == (0.505, 270, 0)
    same = set(before.manifest.files) - {"certificate.json", "CARD.md"}
    assert {name: after.manifest.files[name] for name in same} == {name: before.manifest.files[name] for name in same}
    assert "0.505" in (folder / "CARD.md").read_text()
    assert [one.name for one in folder.parent.iterdir()] == ["tiny"]


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        ((), (0.05, 0.95, 0.1)),
        (("--alpha", 0.2, "--delta", 0.1, "--oos-share", 0.3), (0.2, 0.9, 0.3)),
    ],
)
def test_what_is_asked_for_is_the_recipe_s_or_the_command_s(
    folder: Path, arguments: tuple[object, ...], asked: tuple[float, float, float]
) -> None:
    assert certify(folder, *arguments).exit_code == 0
    given = tiny.certificate(folder)
    assert (given.risk, given.assurance, given.oos_share) == pytest.approx(asked)
    operating = given.variants["int8"].alone.operating
    assert operating.accepted == (300 if given.risk == 0.2 else 270)
    assert operating.certified_up_to_oos_share >= given.oos_share


def test_a_dry_run_changes_nothing(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    done = certify(folder, "--dry-run")
    assert "int8 informed  valid   0.505" in done.output
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_where_nothing_can_be_written_a_dry_run_can_still_look(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(out: Path) -> Path:
        raise PermissionError(13, "Permission denied", str(out))

    monkeypatch.setattr(folders, "scratch", refused)
    assert certify(folder, "--dry-run").exit_code == 0
    done = certify(folder)
    assert (done.exit_code, done.output) == (1, f"Error: {folder}: Permission denied\n")


def test_the_tables_say_what_holds_up_to_which_share_and_for_which_groups(folder: Path) -> None:
    output = certify(folder, "--dry-run", "--alpha", 0.06).output
    for part in ("at most 6.0% of the model's answers are wrong", "OOS <=", "stale", "warm", "its own"):
        assert part in output


def test_what_cannot_be_certified_says_how_many_questions_it_takes(folder: Path) -> None:
    done = certify(folder, "--alpha", 0.01, "--dry-run")
    assert done.exit_code == 0
    assert "insufficient" in done.output
    assert "int8 alone: nothing could be certified. It would take about" in done.output


def test_what_serving_compares_with_is_to_be_made_anew_where_thresholds_change(folder: Path) -> None:
    (folder / "drift.int8.npz").write_bytes(b"")
    tiny.rehash(folder, "drift.int8.npz")
    assert "thresholds have changed" in certify(folder).output
    assert "thresholds have changed" not in certify(folder).output


def test_outcomes_that_are_none_are_named(folder: Path) -> None:
    (folder / "outcomes.fp16.npy").write_bytes(b"no array")
    tiny.rehash(folder, "outcomes.fp16.npy")
    done = certify(folder)
    assert done.exit_code == 2
    assert "outcomes.fp16.npy" in done.output


def test_how_a_bundle_is_asked_goes_with_asking_it(folder: Path) -> None:
    before = (folder / "manifest.json").read_bytes()
    done = certify(folder, "--exact")
    assert done.exit_code == 2
    assert "goes with --ask-again" in done.output
    assert (folder / "manifest.json").read_bytes() == before


def test_the_promoted_version_is_to_be_promoted_again(folder: Path) -> None:
    for name in ("1", "2"):
        shutil.copytree(folder, folder.parent / "versions" / name)
    place = folder.parent / "versions"
    sha256 = bundles.load(place / "2").manifest_sha256
    promotion.record(place, promotion.event("promote", "2", sha256))
    done = certify(place)
    assert done.exit_code == 0
    assert "is promoted as it was" in done.output
    assert bundles.load(place / "2").manifest_sha256 != sha256
    assert "is promoted as it was" not in certify(place / "1").output
    assert "is promoted as it was" not in certify(place / "2", "--dry-run").output


@pytest.mark.parametrize("arguments", [("--alpha", 0), ("--delta", 1), ("--oos-share", 1)])
def test_shares_are_shares(folder: Path, arguments: tuple[object, ...]) -> None:
    assert certify(folder, *arguments).exit_code == 2
