"""The live view: what is read of the metrics, what is counted between readings, and what a person is shown of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import pytest

from gateway.telemetry.live.counts import FAMILIES, Counts, increase, read
from gateway.telemetry.live.history import KEPT, History, Levels, Reading
from gateway.telemetry.live.together import Together
from gateway.telemetry.live.view import TWENTY, point, quantile, view
from gateway.telemetry.metrics import CONFIDENCE, Code, Metrics, Rejection
from gateway.types import Criticality, Route
from tests.fakes import ABSTENTION, ANSWER


def samples_of(metrics: Metrics) -> set[str]:
    return {sample.name for family in metrics.registry.collect() for sample in family.samples}


async def test_every_family_is_there_with_its_labels(metrics: Metrics) -> None:
    metrics.method("gateway.v1.Answers", "Answer").handled(Code.OK, 0.1)
    names = samples_of(metrics)
    for sample, _ in FAMILIES.values():
        assert sample in names
    await read(metrics.registry)  # and no label is missing


async def test_what_is_counted_is_read_and_zeros_are_not(metrics: Metrics) -> None:
    assert await read(metrics.registry) == {}
    metrics.observe(ANSWER, 0.0025)
    metrics.observe(dataclasses.replace(ABSTENTION, confidence=0.97), 99.0)
    metrics.reject(Rejection.SHED, Criticality.SHEDDABLE)
    metrics.reject(Rejection.SHED, Criticality.CRITICAL)
    found = await read(metrics.registry)
    assert found["decision/model/confident"] == found["decision/abstain/no_evidence"] == 1
    assert found["refused/shed"] == 2  # over both criticalities
    assert found["duration/model/ok/3"] == 1  # between 2 and 3 ms, and in no other bucket
    assert sum(count for path, count in found.items() if path.startswith("duration/")) == 2
    assert found["confidence/abstain/19"] == 1  # a value on an edge lies below it
    assert CONFIDENCE[19] == 0.97


def test_an_increase_is_what_came_since() -> None:
    assert increase({"a": 1, "b": 2}, {"a": 4, "b": 2, "c": 1}) == {"a": 3, "c": 1}
    assert increase({}, {"a": 1}) == {"a": 1}


def test_readings_of_several_processes_make_one_that_never_falls() -> None:
    together = Together()

    def added(*, there: str, **said: int) -> Reading:
        return together.add(9.0, {name: reading(0.0, answers) for name, answers in said.items()}, there)

    def answers(one: Reading) -> int:
        return one.counts["decision/model/confident"]

    assert answers(added(there="ab", a=3, b=1)) == 4
    assert answers(added(there="ab", a=5)) == 6  # the other one gives no answer
    assert answers(added(there="bc", b=2, c=1)) == 8  # the first has ended, and its successor begins at zero
    assert answers(added(there="bc")) == 8


def test_levels_add_up_and_the_highest_shed_level_counts() -> None:
    some, more = Reading(0.0, {}, Levels(1, 4, 2, 0.5, 0.25)), Reading(0.0, {}, Levels(2, 4, 1, 0.25, 0.75))
    assert Together().add(9.0, {"a": some, "b": more}, "ab") == Reading(9.0, {}, Levels(3, 8, 3, 0.75, 0.75))


def test_a_quantile_is_taken_by_a_line_through_its_bucket() -> None:
    edges = (1.0, 2.0, 4.0)
    assert quantile([0, 0, 0, 0], edges, 0.5) is None
    assert quantile([4, 0, 0, 0], edges, 0.5) == 0.5
    assert quantile([2, 2, 0, 0], edges, 0.5) == 1.0
    assert quantile([1, 1, 2, 0], edges, 0.75) == 3.0
    assert quantile([0, 0, 0, 9], edges, 0.5) == 4.0  # above all edges: the highest is all that is known


DECIDED = {"decision/model/confident": 6, "decision/retrieval/low_confidence": 2, "decision/abstain/no_evidence": 1}


def funnel(counted: Mapping[str, int]) -> dict[str, int]:
    found: dict[str, int] = view(dict(counted), 60.0)["funnel"]
    return found


def test_the_funnel_only_narrows() -> None:
    assert funnel({}) == dict.fromkeys(("received", "admitted", "decided", "answered", "failed"), 0)
    assert funnel(DECIDED) == {"received": 9, "admitted": 9, "decided": 9, "answered": 8, "failed": 0}
    # Three errors, two of which were refusals; another call was refused at the door.
    troubled = DECIDED | {"duration/none/error/1": 3, "refused/quota": 2, "refused/overload": 1}
    assert funnel(troubled) == {"received": 13, "admitted": 10, "decided": 9, "answered": 8, "failed": 1}
    # Searches are refused too, and are no questions.
    assert funnel({"refused/quota": 5})["failed"] == 0


def test_a_view_tells_routes_reasons_stages_and_confidences() -> None:
    counted = DECIDED | {
        "stage/infer/3": 4,
        "duration/model/ok/3": 6,
        "duration/none/error/9": 50,
        "confidence/model/20": 1,
        "confidence/model/21": 2,
        "ended/OK": 7,
        "ended/Unavailable": 1,
        "late": 2,
    }
    found = view(counted, 60.0)
    assert found["routes"] == {"model": 6, "retrieval": 2, "ensemble": 0, "abstain": 1}
    assert set(found["routes"]) == set(Route)
    assert found["reasons"][0] == {"route": "model", "reason": "confident", "count": 6}
    assert found["stages"] == {"infer": {"count": 4, "p50": 0.0025, "p99": 0.00299}}
    assert found["latency"]["count"] == 6  # errors are none of it
    assert found["confidence"] == {"model": [*[0] * (TWENTY - 1), 3]}
    assert found["ended"] == {"Unavailable": 1}
    assert found["late"] == 2
    assert point(counted, 1.0)["latency"]["p50"] == 0.0025


def reading(at: float, answers: int, in_flight: int = 0) -> Reading:
    counted: Counts = {"decision/model/confident": answers}
    return Reading(at, counted, Levels(in_flight=in_flight))


def test_a_history_gives_what_came_after_a_point() -> None:
    history = History()
    assert history.span(60.0) == ({}, 0.0)
    for at in range(4):
        history.add(reading(float(at), at * at, in_flight=at))
    assert [one["routes"]["model"] for one in history.points()] == [1, 3, 5]
    assert [one["in_flight"] for one in history.points()] == [1, 2, 3]
    assert [one["number"] for one in history.points(after=2)] == [3]
    assert history.span(2.0) == ({"decision/model/confident": 8}, 2.0)
    assert history.span(600.0) == ({"decision/model/confident": 9}, 3.0)


def test_a_history_is_bounded() -> None:
    history = History()
    for at in range(2 * int(KEPT)):
        history.add(reading(float(at), at))
    assert len(history.points()) == KEPT
    counted, seconds = history.span(2 * KEPT)
    assert (counted["decision/model/confident"], seconds) == (KEPT, KEPT)


@pytest.mark.parametrize("route", list(Route))
async def test_every_route_and_reason_can_be_read(metrics: Metrics, route: Route) -> None:
    metrics.observe(dataclasses.replace(ANSWER, route=route), 0.001)
    assert view(await read(metrics.registry), 1.0)["routes"][route] == 1
