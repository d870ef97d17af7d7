"""`client-cost`: that both ways are measured, and what is told of them."""

from __future__ import annotations

import json

from click.testing import CliRunner

from loadtest.__main__ import main
from loadtest.client_cost import Spent, _cost
from loadtest.client_cost_command import client_cost


def test_what_is_compared_is_the_pairs() -> None:
    pairs = [{"stub": Spent(100.0, 50.0), "client": Spent(110.0, 60.0)} for _ in range(3)]
    pairs.append({"stub": Spent(1000.0, 50.0), "client": Spent(9000.0, 60.0)})
    cost = _cost([*pairs])
    assert round(cost.added_wall, 6) == 0.1
    assert round(cost.added_cpu, 6) == 0.2
    assert (cost.stub.wall, cost.client.cpu) == (100.0, 60.0)


def test_the_command_tells_of_both_clients() -> None:
    assert main.commands["client-cost"] is client_cost
    result = CliRunner().invoke(main, ["client-cost", "--calls", "5", "--blocks", "2", "--json"])
    found = json.loads(result.stdout)
    assert set(found["costs"]) == {"sync", "async"}
    for cost in found["costs"].values():
        assert all(cost[way][of] > 0 for way in ("stub", "client") for of in ("wall", "cpu"))
    worst = max(max(cost["added_wall"], cost["added_cpu"]) for cost in found["costs"].values())
    assert found["valid"] == (worst <= found["at_most"])
    assert result.exit_code == (0 if found["valid"] else 1)
