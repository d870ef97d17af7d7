"""Steps: what was made is not made again, what has changed is, and what failed leaves nothing that looks finished."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from gateway.forge.steps import Report, Steps


class Maker:
    """Writes how often it was called."""

    def __init__(self, fails: bool = False) -> None:
        self.calls = 0
        self.fails = fails

    def __call__(self, folder: Path, report: Report) -> None:
        self.calls += 1
        (folder / "made.txt").write_text(str(self.calls))
        report(1, 2, "half way")
        if self.fails:
            raise RuntimeError("the power went")
        report(2, 2, "done")


@pytest.fixture
def said() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def steps(tmp_path: Path, said: io.StringIO) -> Steps:
    return Steps(tmp_path / "work", Console(file=said, width=200))


def test_a_step_is_made_in_a_folder_of_its_name(steps: Steps, tmp_path: Path) -> None:
    done = steps.run("teacher", ["data"], Maker())
    assert done.folder == tmp_path / "work" / "teacher"
    assert (done.folder / "made.txt").read_text() == "1"


def test_the_same_key_is_skipped(steps: Steps, said: io.StringIO) -> None:
    make = Maker()
    first = steps.run("teacher", {"epochs": 4, "rate": 3e-5}, make)
    second = steps.run("teacher", {"rate": 3e-5, "epochs": 4}, make)
    assert (make.calls, first) == (1, second)
    assert "teacher: already made" in said.getvalue()


@pytest.mark.parametrize("decides", [["data", 5], ["other", 4], ["data"], ["data", "4"]])
def test_a_changed_key_is_made_anew(steps: Steps, decides: list[object]) -> None:
    make = Maker()
    first = steps.run("teacher", ["data", 4], make)
    second = steps.run("teacher", decides, make)
    assert make.calls == 2
    assert first.key != second.key
    assert (second.folder / "made.txt").read_text() == "2"


def test_two_steps_of_the_same_decisions_have_different_keys(steps: Steps) -> None:
    assert steps.run("one", [], Maker()).key != steps.run("two", [], Maker()).key


def test_a_failed_step_leaves_nothing_that_looks_finished(steps: Steps, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="the power went"):
        steps.run("teacher", ["data"], Maker(fails=True))
    assert not (tmp_path / "work" / "teacher").exists()


def test_a_failed_step_is_made_from_scratch(steps: Steps) -> None:
    make = Maker(fails=True)
    with pytest.raises(RuntimeError):
        steps.run("teacher", ["data"], make)
    make.fails = False

    def clean(folder: Path, report: Report) -> None:
        assert list(folder.iterdir()) == []
        make(folder, report)

    assert (steps.run("teacher", ["data"], clean).folder / "made.txt").read_text() == "2"


def test_a_failed_renewal_leaves_what_was_there(steps: Steps) -> None:
    make = Maker()
    done = steps.run("teacher", ["data"], make)
    with pytest.raises(RuntimeError):
        steps.run("teacher", ["new data"], Maker(fails=True))
    assert steps.run("teacher", ["data"], make) == done
    assert make.calls == 1


def test_progress_is_said_where_nobody_watches_a_bar(steps: Steps, said: io.StringIO) -> None:
    steps.run("teacher", [], Maker())
    assert "teacher: 2/2  done" in said.getvalue()
