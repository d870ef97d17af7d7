"""`audit-cost`: that both ways are measured, and what is told of them."""

from __future__ import annotations

import json

from click.testing import CliRunner

from loadtest import audit_cost
from loadtest.__main__ import main


def test_both_ways_are_measured_and_every_answer_is_written() -> None:
    costs = audit_cost.measure(questions=100, blocks=2, keeps_text=False)
    assert 300 < costs.record_bytes < 3000
    assert min(costs.without.answering, costs.with_.answering, costs.with_.process) > 0
    assert costs.hot_path == costs.with_.answering - costs.without.answering
    assert audit_cost.measure(questions=100, blocks=1, keeps_text=True).record_bytes > costs.record_bytes


def test_the_command_tells_both() -> None:
    result = CliRunner().invoke(main, ["audit-cost", "--questions", "100", "--blocks", "1", "--json"])
    found = json.loads(result.stdout)
    assert set(found["microseconds"]) == {"without", "with", "hot_path", "aside"}
    assert found["valid"] == (found["microseconds"]["hot_path"] <= found["at_most"])
