"""What follows from verdicts: error rates as metrics, and a certificate that goes stale where they call for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.audit.cases import Cases, Verdict
from gateway.audit.log import AuditLog, Terms
from gateway.audit.marks import Marker
from gateway.auditing import doubt_of, look, watch
from gateway.errors import StoreFull
from gateway.rpc.service import Description
from gateway.swapping import Swapping
from gateway.telemetry.metrics import Metrics
from gateway.types import Answer, Doubter, ErrorRate, Question, Route
from tests.fakes import ANSWER, FakeGateway

PROMISED = 0.05


class Serving:
    """What `look` needs of a gateway."""

    def __init__(self) -> None:
        self.description = replace(FakeGateway().describe(), certified_risk=PROMISED)
        self.doubts: list[tuple[str, str, str]] = []

    def describe(self) -> Description:
        return self.description

    def doubt(self, manifest_sha256: str, reason: str, by: str) -> None:
        self.doubts.append((manifest_sha256, reason, by))


@pytest.fixture
def log(tmp_path: Path) -> Iterator[AuditLog]:
    log = AuditLog(tmp_path, 0, Marker(bytes(32), 1.0), Terms(sync_seconds=0.0))
    yield log
    log.close()


async def judged(log: AuditLog, count: int, wrong: int, answer: Answer = ANSWER) -> None:
    """Answers that were drawn, so many of them judged wrong and the others right."""
    for number in range(count):
        mark = log.offer(Question("why?", "banking"), answer, "", 0.0)
        assert mark is not None
        await asyncio.to_thread(log.judge, Verdict(mark.id, "default", is_wrong=number < wrong))


async def rates(log: AuditLog, gateway: Serving, drawn: int, tightens: bool = True) -> Sequence[ErrorRate]:
    """Once all are written."""
    found: list[Sequence[ErrorRate]] = []
    for _ in range(500):
        await look(log, gateway, found.append, tightens)
        if sum(one.drawn for one in found[-1]) == drawn:
            return found[-1]
        await asyncio.sleep(0.02)
    raise AssertionError(found[-1])


async def test_the_certificate_is_doubted_where_the_model_is_for_sure_wrong_too_often(log: AuditLog) -> None:
    serving = Serving()
    await rates(log, serving, 0)
    await judged(log, 60, 20)
    (found,) = await rates(log, serving, 60)
    assert (found.route, found.drawn, found.judged, found.wrong) == ("model", 60, 60, 20)
    assert found.lower_since > PROMISED
    manifest, reason, by = serving.doubts[-1]
    assert (manifest, by) == (serving.description.manifest_sha256, Doubter.FEEDBACK)
    assert "of 60 of the model's answers" in reason
    assert "5 % are promised" in reason


async def test_it_is_not_where_nothing_is_sure_or_promised_or_where_others_are_wrong(log: AuditLog) -> None:
    serving = Serving()
    await rates(log, serving, 0)
    await judged(log, 40, 3)
    await judged(log, 60, 60, replace(ANSWER, route=Route.RETRIEVAL))
    await rates(log, serving, 100)
    assert serving.doubts == []
    await judged(log, 40, 40)
    await rates(log, serving, 140, tightens=False)
    assert serving.doubts == []
    serving.description = replace(serving.description, certified_risk=0.0)
    await rates(log, serving, 140)
    assert serving.doubts == []
    serving.description = replace(serving.description, certified_risk=PROMISED)
    await rates(log, serving, 140)
    assert serving.doubts


async def test_a_bundle_that_is_certified_anew_begins_anew(log: AuditLog) -> None:
    serving = Serving()
    await rates(log, serving, 0)
    await judged(log, 60, 20)
    await rates(log, serving, 60)
    serving.description = replace(serving.description, manifest_sha256="ef" * 32)
    assert list(await rates(log, serving, 0)) == []
    await judged(log, 30, 0)
    (found,) = await rates(log, serving, 30)
    assert (found.drawn, found.wrong) == (30, 0)


async def test_what_was_judged_before_a_restart_counts_on(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, 0, Marker(bytes(32), 1.0), Terms())
    serving = Serving()
    log.serves(serving.description.bundle, serving.description.manifest_sha256)
    await judged(log, 60, 20)
    await asyncio.to_thread(log.close)
    again = AuditLog(tmp_path, 0, Marker(bytes(32), 1.0), Terms())
    await look(again, serving, lambda _: None, tightens=True)
    assert len(serving.doubts) == 1
    await asyncio.to_thread(again.close)


@pytest.mark.parametrize("error", [StoreFull("the disk is full"), ZeroDivisionError("of ours")], ids=repr)
async def test_watching_survives_a_file_that_cannot_be_read_and_its_own_faults(
    log: AuditLog, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    calls = 0

    def tallies(self: Cases, bundle: str | None = None) -> list[object]:
        nonlocal calls
        calls += 1
        if calls < 4:
            raise error
        return []

    monkeypatch.setattr(Cases, "tallies", tallies)
    is_told = asyncio.Event()
    with caplog.at_level(logging.ERROR):
        watching = asyncio.create_task(watch(log, Serving(), lambda _: is_told.set(), tightens=True, period=0.001))
        await asyncio.wait_for(is_told.wait(), 30)
        watching.cancel()
    assert len(caplog.messages) == 1
    assert "cannot be estimated now" in caplog.messages[0]


def test_a_lower_bound_above_the_promise_is_what_counts() -> None:
    one = ErrorRate("model", 100, 100, 20, 0.2, 0.12, 0.3, lower_since=0.13)
    assert doubt_of([one], 0.05)
    assert not doubt_of([one], 0.13)
    assert not doubt_of([replace(one, route="retrieval")], 0.05)
    assert not doubt_of([], 0.05)


async def test_only_the_bundle_that_serves_is_doubted(tmp_path: Path) -> None:
    gateway = FakeGateway()
    swapping = Swapping(gateway, tmp_path, lambda *_: FakeGateway(), lambda *_: None)
    swapping.doubt("another", "too many errors", Doubter.FEEDBACK)
    assert gateway.doubts == []
    swapping.doubt(gateway.describe().manifest_sha256, "too many errors", Doubter.FEEDBACK)
    assert gateway.doubts == [("too many errors", Doubter.FEEDBACK)]
    await swapping.close()


def test_rates_are_metrics_of_the_bundle_in_use() -> None:
    metrics = Metrics()
    metrics.set_error_rates([ErrorRate("model", 100, 50, 2, 0.04, 0.01, 0.6, 0.0)])
    metrics.set_error_rates(
        [
            ErrorRate("retrieval", 10, 0, 0, float("nan"), 0.0, 1.0, 0.0),
            ErrorRate("model", 7, 5, 1, 0.2, 0.01, 0.6, 0.0),
        ]
    )
    text = metrics.render()[0].decode()
    assert 'gateway_audit_answers{route="model",state="drawn"} 7.0' in text
    assert 'gateway_audit_error_ratio{route="model"} 0.2' in text
    assert 'gateway_audit_error_lower_ratio{route="model"} 0.01' in text
    assert 'gateway_audit_error_upper_ratio{route="retrieval"} 1.0' in text
    assert 'gateway_audit_error_ratio{route="retrieval"}' not in text
