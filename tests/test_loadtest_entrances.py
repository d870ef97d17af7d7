"""Each way in, asked in turn: that all are, and what is made of the numbers."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from loadtest import entrances
from loadtest.entrances import CLIENT, CROWDED, INFER, JSON, STUB, WAYS, Found
from loadtest.entrances_command import entrances_


def found(client: float = 0.0044, json: float = 0.005, infer: float = 90.0) -> Found:
    made = Found()
    for way, seconds in {STUB: 0.004, CLIENT: client, INFER: 0.004, JSON: json}.items():
        made.seconds[way], made.own_cpu[way] = [seconds] * 3, [0.001]
    made.rates, made.server_cpu = {STUB: [100.0] * 3, INFER: [infer] * 3}, {way: [0.002] for way in CROWDED}
    return made


@pytest.mark.parametrize(
    ("measured", "fault"),
    [
        (found(), ""),
        (found(client=0.005), "the client adds 25.0% to a bare stub"),
        (found(json=0.006), "JSON adds 2.00 ms"),
        (found(infer=70.0), "ModelInfer has 0.70 of the capacity"),
    ],
)
def test_what_is_missed_is_said(monkeypatch: pytest.MonkeyPatch, measured: Found, fault: str) -> None:
    async def done(*_: object) -> Found:
        return measured

    monkeypatch.setattr(entrances, "measured", done)
    printed = CliRunner().invoke(entrances_, [])
    assert printed.exit_code == bool(fault)
    assert fault in " ".join(printed.output.split())
    assert "ModelInfer has" in printed.output


async def test_a_gateway_answers_by_each() -> None:
    measured = await entrances.measured(["Where is my card?", "How do I close my account?"], 1, 2, 1, 0.2)
    assert all(len(measured.seconds[way]) == 2 for way in WAYS)
    assert measured.capacity() > 0
