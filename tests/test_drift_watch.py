"""Watching: silent while questions stay as they were, soon loud when they do not, and by name where it is a part."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.typing import NDArray

from gateway.cascade.calibration import MODEL_FEATURES, PROTOTYPE, Confidence, Logistic, ModelCalibration
from gateway.telemetry.drift import watch as watching
from gateway.telemetry.drift.monitors import HORIZON, SHARES, Limits
from gateway.telemetry.drift.reference import ROUTES, Reference
from gateway.telemetry.drift.watch import DriftWatch
from gateway.telemetry.drift.window import BATCH, BLOCKS
from gateway.types import (
    Answer,
    DriftAlarm,
    DriftMonitor,
    DriftScope,
    Pass,
    Policy,
    Prediction,
    Principal,
    Question,
    Reason,
    Route,
)

LABELS, DIM = 8, 16
PROTOTYPES = np.linalg.qr(np.random.default_rng(0).normal(size=(DIM, DIM)))[0][:LABELS].astype(np.float32)
ANSWER = Answer(Route.MODEL, Reason.CONFIDENT, Policy.CASCADE, 0.9)
WHOLE = (DriftScope.ALL, "")


def calibration() -> ModelCalibration:
    def by(feature: int, weight: float) -> Logistic:
        weights = tuple(weight if at == feature else 0.0 for at in range(len(MODEL_FEATURES)))
        return Logistic(weights[:2], 0.0, (0.0,) * 2, (1.0,) * 2)

    scope = Logistic((8.0,), -4.0, (0.0,), (1.0,))
    return ModelCalibration(
        1.0, 0.0, PROTOTYPES[:, None], Confidence(by(0, 0.5), scope, Logistic((1.0,), 0.0, (0.0,), (1.0,)))
    )


MODEL = calibration()


@dataclass
class World:
    """Where questions come from: near the prototypes of labels, in `shares`, with so much `noise`."""

    chance: np.random.Generator
    shares: NDArray[np.float64] = field(default_factory=lambda: np.full(LABELS, 1 / LABELS))

    def drawn(self, count: int, noise: float = 0.12) -> list[Prediction]:
        labels = self.chance.choice(LABELS, count, p=self.shares)
        embeddings = PROTOTYPES[labels] + self.chance.normal(scale=noise, size=(count, DIM)).astype(np.float32)
        embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
        logits = 12 * embeddings @ PROTOTYPES.T
        return [Prediction.alone(*pair) for pair in zip(logits, embeddings, strict=True)]

    def reference(self, count: int = 600) -> Reference:
        drawn = self.drawn(count)
        logits, embeddings = (np.stack([getattr(one, name) for one in drawn]) for name in ("logits", "embedding"))
        features = MODEL.features(logits, embeddings)
        labels = np.bincount(logits.argmax(axis=1), minlength=LABELS)
        routes = np.array([count, *[0] * (len(ROUTES) - 1)])
        return Reference.of(MODEL.confidence(features), features[:, PROTOTYPE], labels, routes, embeddings)


@pytest.fixture
def world() -> World:
    return World(np.random.default_rng(5))


Start = Callable[..., DriftWatch]


@pytest.fixture
def alarms() -> list[DriftAlarm]:
    return []


@pytest.fixture
def start(world: World, alarms: list[DriftAlarm]) -> Iterator[Start]:
    started: list[DriftWatch] = []

    def begin(false_alarms: float = 0.01, most_parts: int = 4) -> DriftWatch:
        started.append(DriftWatch(world.reference(), MODEL, false_alarms, most_parts, alarms.append, lambda: 1.5))
        return started[-1]

    yield begin
    for one in started:
        one.close()


def ask(watch: DriftWatch, predictions: list[Prediction], tenant: str = "default", collection: str = "bank") -> None:
    """Without haste: every batch is looked at before the next one is full."""
    question = Question("?", collection, Principal(tenant))
    for at, one in enumerate(predictions, 1):
        watch.note(one, ANSWER, question)
        if at % BATCH == 0:
            watch.settle()
    watch.settle()


def test_limits_share_the_false_alarms_out() -> None:
    limits = Limits.of(0.08)
    assert limits.evidence * 0.08 / SHARES == pytest.approx(HORIZON)
    assert limits.p_value * HORIZON / BATCH == pytest.approx(0.08 / SHARES)


def test_nothing_is_said_while_questions_stay_as_they_were(
    world: World, start: Start, alarms: list[DriftAlarm]
) -> None:
    watch = start()
    ask(watch, world.drawn(100 * BATCH + 5))
    figures = watch.figures
    assert (alarms, figures.alarms) == ([], ())
    assert (figures.questions, figures.skipped, figures.reference) == (100 * BATCH, 0, 600)
    assert figures.evidence.keys() == {DriftMonitor.CONFIDENCE, DriftMonitor.DISTANCE, DriftMonitor.LABELS}
    assert max(figures.evidence.values()) < -2
    assert figures.readings.keys() == {
        "label_shares",
        "route_shares",
        "confidence_stability",
        "confidence_difference",
        "distance_stability",
        "distance_difference",
        "embedding_discrepancy",
    }
    assert min(one.p_value for one in figures.readings.values()) > 1e-4


def test_there_are_no_readings_before_a_window_is_full(world: World, start: Start) -> None:
    watch = start()
    ask(watch, world.drawn((BLOCKS - 1) * BATCH))
    assert watch.figures.readings == {}


def test_questions_that_are_farther_off_are_found(world: World, start: Start, alarms: list[DriftAlarm]) -> None:
    watch = start()
    ask(watch, world.drawn(30 * BATCH))
    ask(watch, world.drawn(8 * BATCH, noise=0.25))
    found = {(alarm.monitor, alarm.scope, alarm.name) for alarm in alarms}
    assert {(DriftMonitor.CONFIDENCE, *WHOLE), (DriftMonitor.DISTANCE, *WHOLE)} <= found
    assert len(alarms) == len(found), "each monitor raises its alarm once"
    assert 30 * BATCH < alarms[0].questions <= 36 * BATCH
    assert alarms[0].since == 1.5
    assert watch.figures.alarms == tuple(alarms)
    assert max(watch.figures.evidence.values()) > 0


def test_other_labels_than_before_are_found_by_labels_alone(
    world: World, start: Start, alarms: list[DriftAlarm]
) -> None:
    watch = start()
    world.shares = np.array([0.5, *[0.5 / (LABELS - 1)] * (LABELS - 1)])
    ask(watch, world.drawn(10 * BATCH))
    assert DriftMonitor.LABELS in {alarm.monitor for alarm in alarms}
    assert not {DriftMonitor.CONFIDENCE, DriftMonitor.DISTANCE} & {alarm.monitor for alarm in alarms}


def test_the_same_labels_from_elsewhere_are_found_by_the_embedding(
    world: World, start: Start, alarms: list[DriftAlarm]
) -> None:
    """Mirrored to one side, along what is orthogonal to every prototype: as near to each as before."""
    watch = start()
    across = np.linalg.svd(PROTOTYPES)[2][LABELS:].astype(np.float32)
    mirrored = []
    for one in world.drawn(12 * BATCH):
        aside = across @ one.embedding
        mirrored.append(Prediction.alone(one.logits, one.embedding + (np.abs(aside) - aside) @ across))
    ask(watch, mirrored)
    assert {alarm.monitor for alarm in alarms} == {DriftMonitor.EMBEDDING}


def test_the_tenant_that_drifts_is_named_and_the_others_are_left_alone(
    world: World, start: Start, alarms: list[DriftAlarm]
) -> None:
    watch = start()
    for _ in range(40):
        ask(watch, world.drawn(20, noise=0.12), "good")
        ask(watch, world.drawn(8, noise=0.12), "better")
        ask(watch, world.drawn(4, noise=0.6), "bad")
    assert {(alarm.scope, alarm.name) for alarm in alarms} == {(DriftScope.TENANT, "bad")}
    assert all(alarm.questions <= 3 * BATCH for alarm in alarms)
    assert (watch.figures.tenants, watch.figures.collections) == (3, 1)


def test_the_collection_that_drifts_is_named(world: World, start: Start, alarms: list[DriftAlarm]) -> None:
    watch = start()
    for _ in range(40):
        ask(watch, world.drawn(30), collection="bank")
        ask(watch, world.drawn(2, noise=0.3), collection="law")
    assert {(alarm.scope, alarm.name) for alarm in alarms} == {(DriftScope.COLLECTION, "law")}


def test_a_part_that_asks_most_of_all_is_the_whole(world: World, start: Start, alarms: list[DriftAlarm]) -> None:
    watch = start()
    for _ in range(12):
        ask(watch, world.drawn(2), "good")
        ask(watch, world.drawn(30, noise=0.6), "bad")
    assert {alarm.scope for alarm in alarms} == {DriftScope.ALL}


def test_one_tenant_alone_is_watched_as_the_whole(world: World, start: Start, alarms: list[DriftAlarm]) -> None:
    watch = start()
    ask(watch, world.drawn(8 * BATCH, noise=0.6))
    assert {(alarm.scope, alarm.name) for alarm in alarms} == {WHOLE}


def test_tenants_are_watched_up_to_a_number(world: World, start: Start) -> None:
    watch, none = start(most_parts=3), start(most_parts=0)
    for number in range(20):
        ask(watch, world.drawn(BATCH), f"tenant-{number}")
        ask(none, world.drawn(BATCH), f"tenant-{number}")
    assert (watch.figures.tenants, none.figures.tenants) == (3, 0)


def test_many_names_leave_room_for_the_alarm_of_all(
    world: World, start: Start, alarms: list[DriftAlarm], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "MOST_ALARMS", 2)
    watch = start(most_parts=8)
    for _ in range(4):
        for number in range(4):
            ask(watch, world.drawn(BATCH // 2), "good")
            ask(watch, world.drawn(BATCH // 2, noise=0.6), f"bad-{number}")
    assert sum(alarm.scope is DriftScope.TENANT for alarm in alarms) <= 2
    assert DriftScope.ALL in {alarm.scope for alarm in alarms}


def test_it_begins_anew(world: World, start: Start, alarms: list[DriftAlarm]) -> None:
    watch = start()
    ask(watch, world.drawn(6 * BATCH, noise=0.6))
    assert watch.figures.alarms
    watch.restart()
    assert (watch.figures.questions, watch.figures.alarms, watch.figures.evidence) == (0, (), {})
    before = len(alarms)
    ask(watch, world.drawn(40 * BATCH))
    assert len(alarms) == before
    ask(watch, world.drawn(6 * BATCH, noise=0.6))
    assert len(alarms) > before


def test_what_there_is_no_time_for_is_left_out_and_counted(
    world: World, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, looked = threading.Event(), watching.DriftWatch._update

    def slow(*arguments: object) -> None:
        go_on.wait(30)
        looked(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(watching.DriftWatch, "_update", slow)
    watch, question = start(), Question("?", "bank")
    for one in world.drawn(5 * BATCH):
        watch.note(one, ANSWER, question)
    assert watch.figures.skipped == 4 * BATCH  # one is looked at, and into the other buffer goes what comes
    go_on.set()
    watch.settle()
    assert watch.figures.questions == BATCH
    ask(watch, world.drawn(BATCH))
    assert watch.figures.questions == 2 * BATCH


def test_what_has_no_numbers_is_left_out(world: World, start: Start) -> None:
    watch, drawn = start(), world.drawn(BATCH)
    broken = Prediction(Pass(drawn[0].logits[None], np.full((1, DIM), np.nan, np.float32)), 0, 1, {})
    ask(watch, [broken, *drawn[1:]])
    assert watch.figures.questions == BATCH - 1


def test_a_batch_that_fails_is_logged_and_the_next_one_counts(
    world: World, start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    watch = start()
    with monkeypatch.context() as patched:
        patched.setattr(watching.DriftWatch, "_update", lambda *_: 1 / 0)
        ask(watch, world.drawn(BATCH))
    assert "could not be watched" in caplog.text
    ask(watch, world.drawn(BATCH))
    assert watch.figures.questions == BATCH


def test_routes_count_where_the_references_policy_has_answered(world: World, start: Start) -> None:
    watch = start()
    for policy, share in ((Policy.RETRIEVAL_ONLY, 1.0), (Policy.CASCADE, 0.0)):
        question = Question("?", "bank", policy=policy)
        answer = Answer(Route.RETRIEVAL, Reason.FORCED, policy, 0.9)
        for one in world.drawn(BATCH * BLOCKS):
            watch.note(one, answer, question)
            watch.settle()
        assert watch.figures.readings["route_shares"].p_value == pytest.approx(share, abs=1e-9)
