"""Drift among workers: what one has found all are told, once, and of the same bundle; and what they say together."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import Unavailable
from gateway.types import DriftAlarm, DriftFigures, DriftMonitor, DriftReading, DriftScope
from gateway.workers.bundles import Bundles
from gateway.workers.drift import Spreading, together
from tests.staging import Stage, ready, until
from tests.test_workers_together import running

pytestmark = pytest.mark.timeout(600)

LABELS = DriftAlarm(DriftMonitor.LABELS, DriftScope.ALL, "", 64, 1.0)
TENANT = DriftAlarm(DriftMonitor.DISTANCE, DriftScope.TENANT, "acme", 32, 2.0)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def found(stage: Stage, number: int, *alarms: DriftAlarm) -> None:
    """What that worker says from now on."""
    text = json.dumps(dataclasses.asdict(DriftFigures(1000, 640, alarms=alarms)))
    scratch = stage.folder / "scratch"
    scratch.write_text(text)
    scratch.rename(stage.folder / f"drift-{number}")


def heard(stage: Stage) -> list[tuple[str, list[str]]]:
    """Who was told which monitors' alarms, in order."""
    told = [line.split(" ", 2) for line in stage.asked() if " /drift " in line]
    return [(number, sorted(one["monitor"] for one in json.loads(body)["alarms"])) for number, _, body in told]


async def test_the_others_are_told_once(stage: Stage) -> None:
    async with running(stage, 3) as fleet:
        await ready(fleet, 3)
        spreading = Spreading(fleet)
        await spreading.spread()
        found(stage, 1, LABELS)
        for _ in range(2):
            await spreading.spread()
        assert sorted(heard(stage)) == [("0", ["labels"]), ("2", ["labels"])]
        found(stage, 0, LABELS, TENANT)
        await spreading.spread()
        assert sorted(heard(stage)[2:]) == [("1", ["distance"]), ("2", ["distance"])]


async def test_who_starts_later_is_told_too(stage: Stage) -> None:
    async with running(stage) as fleet:
        await ready(fleet)
        spreading = Spreading(fleet)
        found(stage, 0, LABELS)
        await spreading.spread()
        os.kill(fleet.ready()[1].pid, signal.SIGKILL)
        await until(lambda: fleet.workers[1].restarts == 1)
        await ready(fleet)
        await spreading.spread()
        assert heard(stage) == [("1", ["labels"])] * 2


async def test_alarms_are_of_a_bundle(stage: Stage) -> None:
    async with running(stage) as fleet:
        await ready(fleet)
        spreading = Spreading(fleet)
        found(stage, 0, LABELS)
        await spreading.spread()
        (stage.folder / "sha256").write_text("2")  # both serve another one
        found(stage, 0)
        await spreading.spread()
        found(stage, 0, LABELS)
        await spreading.spread()
        assert heard(stage) == [("1", ["labels"])] * 2


async def test_a_reset_is_for_all_and_what_is_found_again_is_told_again(stage: Stage) -> None:
    async with running(stage) as fleet:
        await ready(fleet)
        spreading = Spreading(fleet)
        bundles = Bundles(fleet, spreading)
        found(stage, 0, LABELS)
        await spreading.spread()
        assert (await bundles.reset_drift()).bundle == "first"
        assert sorted(stage.asked()[1:]) == [f'{number} /drift {{"reset": true}}' for number in (0, 1)]
        await spreading.spread()
        assert stage.asked()[3].startswith("1 /drift")


async def test_nobody_is_reset_before_any_is_ready(stage: Stage) -> None:
    stage.plays("0 late", "1 late")
    async with running(stage) as fleet:
        with pytest.raises(Unavailable, match="no worker is ready"):
            await Bundles(fleet).reset_drift()


def figures(**changes: Any) -> dict[str, Any]:
    return dataclasses.asdict(DriftFigures(1000, **changes))


def test_together_they_say_the_worst() -> None:
    one = figures(
        questions=640,
        skipped=32,
        evidence={DriftMonitor.LABELS: -3.0, DriftMonitor.CONFIDENCE: -1.0},
        readings={"label_shares": DriftReading(80.0, 0.01)},
        alarms=(TENANT,),
        tenants=3,
    )
    other = figures(
        questions=64,
        evidence={DriftMonitor.LABELS: 0.5},
        readings={"label_shares": DriftReading(40.0, 0.8), "route_shares": DriftReading(1.0, 0.5)},
        alarms=(LABELS, TENANT),
        tenants=1,
    )
    whole = together([one, other])
    assert whole
    assert (whole["reference"], whole["questions"], whole["skipped"], whole["tenants"]) == (1000, 704, 32, 3)
    assert whole["evidence"] == {"labels": 0.5, "confidence": -1.0}
    assert {test: reading["p_value"] for test, reading in whole["readings"].items()} == {
        "label_shares": 0.01,
        "route_shares": 0.5,
    }
    assert [alarm["monitor"] for alarm in whole["alarms"]] == ["distance", "labels"]
    assert together([]) is None
