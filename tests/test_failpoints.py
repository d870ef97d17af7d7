"""Named places where a process may be told to fail: what each fault does, how often, and how it is switched."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from gateway import failpoints
from gateway.errors import InferenceFailed
from gateway.failpoints import Injected, arm, reached
from gateway.model.bundle import load
from gateway.model.engine import Engine
from tests import tiny


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    yield
    arm("")


def test_off_nothing_happens() -> None:
    assert not any(map(reached, failpoints.NAMES))


def test_what_is_armed_fails_as_it_says() -> None:
    arm("model-run=error; after-commit=errno:ENOSPC; knowledge-search=nan; metrics-render=sleep:0.05")
    with pytest.raises(Injected, match="model-run"):
        reached("model-run")
    with pytest.raises(OSError, match="No space") as caught:
        reached("after-commit")
    assert caught.value.errno == errno.ENOSPC
    assert reached("knowledge-search")
    started = time.monotonic()
    assert not reached("metrics-render")
    assert time.monotonic() - started >= 0.05
    assert not reached("audit-write")


def test_so_many_times_and_then_the_next_fault() -> None:
    arm("model-run=error*2;model-run=nan*1")
    for _ in range(2):
        with pytest.raises(Injected):
            reached("model-run")
    assert [reached("model-run") for _ in range(3)] == [True, False, False]


def test_of_so_many_in_a_hundred() -> None:
    arm("model-run=nan%30")
    share = sum(reached("model-run") for _ in range(2000)) / 2000
    assert 0.2 < share < 0.4


@pytest.mark.parametrize(
    "text", ["model-run", "nobody=error", "model-run=explode", "model-run=errno:ENONSENSE", "model-run=sleep", "a=b=c"]
)
def test_what_is_no_fault_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        arm(text)


def test_a_process_is_killed_where_the_environment_says_so() -> None:
    steps = ("reached('before-commit')", "print('here', flush=True)", "reached('after-commit')", "print('gone')")
    code = "; ".join(("from gateway.failpoints import reached", *steps))
    environment = os.environ | {failpoints.VARIABLE: "after-commit=kill"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (-9, "here\n")


def test_a_file_breaks_a_running_process_and_mends_it(tmp_path: Path) -> None:
    switch = failpoints._Switch("", tmp_path / "faults")
    assert switch.is_on
    assert switch.due("model-run") is None
    for text, is_due in (("model-run=nan", True), ("model-run=na", True), ("", False)):  # the second one is no fault
        (tmp_path / "faults").write_text(text)
        time.sleep(2 * failpoints.LOOK_SECONDS)
        assert (switch.due("model-run") is not None) == is_due


def test_a_pass_fails_and_its_numbers_are_spoilt(tmp_path: Path) -> None:
    session = Engine(load(tiny.write(tmp_path / "tiny"))).session
    arm("model-run=error*1;model-run=nan*1")
    with pytest.raises(InferenceFailed, match="model-run was told to fail"):
        session.run([[1, 2]])
    spoilt, whole = session.run([[1, 2]])[0], session.run([[1, 2]])[0]
    assert np.isnan(spoilt[0]).all()
    assert np.isfinite(whole).all()
