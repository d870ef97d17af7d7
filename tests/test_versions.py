"""The registry of versions: what it says serves, what a rollback goes back to, and what is refused by name."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from gateway.errors import BundleInvalid, Unavailable
from gateway.model import versions
from gateway.model.versions import Action, Registry
from gateway.registry import promotion
from gateway.rpc.origin import located


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three versions, of which the manifests are all that is looked at here."""
    for version in ("1", "2", "10"):
        (tmp_path / "bank" / version).mkdir(parents=True)
        (tmp_path / "bank" / version / "manifest.json").write_text(version)
    return tmp_path / "bank"


def decide(folder: Path, action: Action, version: str) -> Registry:
    event = promotion.event(action, version, versions.manifest_sha256(folder / version))
    return promotion.record(folder, event)


def test_what_is_promoted_serves(folder: Path) -> None:
    decide(folder, "promote", "1")
    decide(folder, "promote", "2")
    assert versions.serving(folder) == folder / "2"
    assert located(folder) == (folder / "2").resolve()


def test_a_bundle_is_what_it_is(folder: Path) -> None:
    decide(folder, "promote", "1")
    assert versions.serving(folder / "2") == folder / "2"


def test_a_folder_of_neither_is_left_to_the_loader(tmp_path: Path) -> None:
    assert versions.serving(tmp_path) == tmp_path
    assert versions.serving(tmp_path / "absent") == tmp_path / "absent"


def test_versions_are_in_the_order_of_their_numbers(folder: Path) -> None:
    (folder / ".making-x").mkdir()
    (folder / ".making-x" / "manifest.json").touch()
    (folder / "notes").mkdir()
    assert versions.names(folder) == ["1", "2", "10"]


def test_nothing_promoted_says_what_there_is(folder: Path) -> None:
    with pytest.raises(BundleInvalid, match=r"holds versions \(1, 2, 10\), of which none is promoted"):
        versions.serving(folder)


def test_a_missing_version_is_named(folder: Path) -> None:
    decide(folder, "promote", "2")
    (folder / "2" / "manifest.json").unlink()
    with pytest.raises(BundleInvalid, match=r"bank/2 was promoted on .* and has no manifest\.json any more"):
        versions.serving(folder)


def test_a_changed_version_is_not_what_was_promoted(folder: Path) -> None:
    decide(folder, "promote", "2")
    (folder / "2" / "manifest.json").write_text("another")
    with pytest.raises(BundleInvalid, match="bank/2 was changed since it was promoted"):
        versions.serving(folder)


@pytest.mark.parametrize(
    "content",
    [
        '{"format": 1, "cur',
        '{"format": 2, "current": "1", "history": []}',
        '{"format": 1, "current": "1", "history": []}',
        "[]",
        "",
    ],
)
def test_a_damaged_file_is_named(folder: Path, content: str) -> None:
    (folder / versions.NAME).write_text(content)
    with pytest.raises(BundleInvalid, match=r"registry\.json: not a registry of format 1.*Put back a copy"):
        versions.serving(folder)


def test_current_must_be_the_last_event(folder: Path) -> None:
    said = decide(folder, "promote", "1").model_dump_json().replace('"current":"1"', '"current":"2"')
    (folder / versions.NAME).write_text(said)
    with pytest.raises(BundleInvalid, match="current is not the version of the last event"):
        versions.read(folder)


def test_rolling_back_goes_down_what_was_promoted(folder: Path) -> None:
    for version in ("1", "2", "10"):
        decide(folder, "promote", version)
    found = decide(folder, "rollback", "2")
    assert [event.version for event in found.history] == ["1", "2", "10", "2"]
    before = found.before()
    assert before is not None
    assert before.version == "1"
    assert decide(folder, "rollback", "1").before() is None


def test_what_is_promoted_after_a_rollback_has_that_before_it(folder: Path) -> None:
    for version in ("1", "2"):
        decide(folder, "promote", version)
    decide(folder, "rollback", "1")
    before = decide(folder, "promote", "10").before()
    assert before is not None
    assert before.version == "1"


def test_one_that_was_certified_anew_is_not_what_a_rollback_goes_back_to(folder: Path) -> None:
    for version in ("1", "2", "2"):
        decide(folder, "promote", version)
    before = decide(folder, "promote", "2").before()
    assert before is not None
    assert before.version == "1"


@pytest.mark.parametrize("version", ["../2", "2/..", "..", "", "/2"])
def test_a_version_is_a_folder_beside_the_registry(folder: Path, version: str) -> None:
    said = decide(folder, "promote", "1").model_dump_json().replace('"1"', f'"{version}"')
    (folder / versions.NAME).write_text(said)
    with pytest.raises(BundleInvalid, match="version"):
        versions.serving(folder)


def test_an_event_says_who_and_when(folder: Path) -> None:
    (event,) = decide(folder, "promote", "1").history
    assert "@" in event.by
    assert event.at.endswith("+00:00")


def test_a_write_that_fails_leaves_what_was(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decide(folder, "promote", "1")
    files = sorted(folder.iterdir())

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        decide(folder, "promote", "2")
    assert versions.serving(folder) == folder / "1"
    assert sorted(folder.iterdir()) == files


def _hold(folder: Path, held: multiprocessing.synchronize.Event, end: multiprocessing.synchronize.Event) -> None:
    with promotion.locked(folder):
        held.set()
        end.wait(60)


def test_one_process_at_a_time(folder: Path) -> None:
    context = multiprocessing.get_context("spawn")
    held, end = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(folder, held, end))
    other.start()
    try:
        assert held.wait(60)
        with pytest.raises(Unavailable, match="another promotion or rollback goes on"), promotion.locked(folder):
            pass
    finally:
        end.set()
        other.join()
    with promotion.locked(folder):
        pass
