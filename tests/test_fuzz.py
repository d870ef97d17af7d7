"""The short form of `make fuzz`; and that it would see what must not be."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from google.protobuf.message import Message

from gateway.v1 import gateway_pb2 as pb
from tests.fuzz import calls, files, wire
from tests.fuzz.mutation import message, mutated
from tests.fuzz.runner import MOST, Target, fuzzed


@pytest.mark.parametrize(("make", "runs"), [(calls.Calls, 4000), (files.Files, 3000), (wire.Wire, 60)])
def test_nothing_comes_of_any_input_that_must_not(make: type[Target], runs: int, tmp_path: Path) -> None:
    result = fuzzed(make.__name__, make(), runs, 1, tmp_path / "findings")
    assert result.findings == []
    assert result.outcomes.total() == runs


def test_calls_of_every_kind_get_through() -> None:
    target, chance = calls.Calls(), random.Random(2)
    outcomes = {target.run(target.corpus(chance)) for _ in range(1000)}
    target.close()
    assert {"OK", "INVALID_ARGUMENT", "NOT_FOUND"} <= outcomes


@pytest.mark.parametrize(
    ("code", "details"), [("INTERNAL", ""), ("OK", "File /tmp/a.py"), ("UNKNOWN", "<class 'int'>")]
)
def test_what_a_caller_must_not_see_is_a_finding(
    code: str, details: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    target = calls.Calls()

    async def served(name: str, body: bytes, context: calls.Context, chance: random.Random) -> None:
        context.code, context.details = code, details

    monkeypatch.setattr(target, "_served", served)
    result = fuzzed("calls", target, 100, 1, tmp_path)
    assert len(result.findings) == MOST
    path, problem = result.findings[0]
    assert path.read_bytes()
    assert code in problem


@pytest.mark.parametrize("kind", [pb.UpsertRequest, pb.AnswerBatchRequest, pb.SetConfidenceRequest])
def test_messages_are_of_their_kind_and_differ(kind: type[Message]) -> None:
    chance = random.Random(3)
    made = {message(kind, chance).SerializeToString(deterministic=True) for _ in range(50)}
    assert len(made) > 10
    assert all(kind.FromString(one) for one in made if one)
    assert len({mutated(b"abcdef", chance) for _ in range(100)}) > 50
