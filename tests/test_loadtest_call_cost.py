"""`call-cost`: that every step is measured as what it is, and what is told of them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from click.testing import CliRunner

from gateway.audit.log import AuditLog, Terms
from gateway.audit.marks import Marker
from gateway.v1 import gateway_pb2 as pb
from loadtest import call_cost
from loadtest.__main__ import main


async def answers(folder: Path, log: AuditLog) -> dict[str, pb.AnswerResponse]:
    return {name: await ask() for name, ask in call_cost._steps(folder, log).items()}  # type: ignore[misc]


def test_each_step_answers_and_the_last_one_is_written_down(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit", 0, Marker(bytes(32), 1.0), Terms(waiting=100))
    try:
        found = asyncio.run(answers(tmp_path, log))
    finally:
        log.close()
    assert found.keys() == call_cost.STEPS.keys()
    assert len({one.text for one in found.values()}) == 1
    assert [name for name, one in found.items() if one.audit_id] == ["whole", "traced"]


def test_the_command_tells_all_steps() -> None:
    result = CliRunner().invoke(main, ["call-cost", "--calls", "100", "--blocks", "1", "--json"])
    found = json.loads(result.stdout)
    us = found["microseconds"]
    assert us.keys() == {*call_cost.STEPS, "added"}
    assert us["added"] == us["whole"] - us["bare"]
    assert found["valid"] == (us["added"] <= found["at_most"])
    assert "adds" in CliRunner().invoke(main, ["call-cost", "--calls", "100", "--blocks", "1"]).output
