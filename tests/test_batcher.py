"""The batcher: who leaves with whom, who is never computed, and who hears of what went wrong."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from gateway.deadline import Deadline
from gateway.errors import DeadlineExceeded, DeadlineUnmeetable, DeviceLost, InferenceFailed, Overloaded, Unavailable
from gateway.model import batcher
from gateway.model.batcher import Batcher, Spare
from gateway.model.cost import CostTable
from gateway.model.schedule import Limits
from gateway.types import Degradation, Prediction

PATIENCE = 30.0
"""Seconds that nothing here takes; so long, a stuck test fails instead of hanging."""


class FakeSession:
    """Records each batch and then waits for `gate`. A question is one number, which comes back as its logit."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.entered = threading.Semaphore(0)
        self.gate = threading.Event()
        self.gate.set()
        self.poison: set[int] = set()
        self.rows: int | None = None
        """Of the output, where it is short."""
        self.error: Exception = RuntimeError("the session broke")

    def __call__(self, questions: Sequence[list[int]]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        batch = [tokens[0] for tokens in questions]
        self.batches.append(batch)
        self.entered.release()
        assert self.gate.wait(PATIENCE)
        if self.poison & set(batch):
            raise self.error
        logits = np.array([[one, np.nan if one < 0 else 0] for one in batch], np.float32)
        return logits[: self.rows], np.ones((len(batch), 2), np.float32)[: self.rows]

    async def is_entered(self) -> None:
        """Until the next batch has arrived."""
        assert await asyncio.to_thread(self.entered.acquire, timeout=PATIENCE)


class Room:
    """A started batcher over a fake session."""

    def __init__(
        self,
        limits: Limits = Limits(tokens=100, questions=8, waiting=16),  # noqa: B008 - frozen
        seconds: float = 1e-6,
    ) -> None:
        """`seconds`: what a pass is predicted to take, for each token."""
        self.session = FakeSession()
        self.now = 0.0
        """Seconds by which this batcher's clock is ahead."""
        self.batcher = Batcher(self.session, CostTable({1: seconds}), limits, lambda: time.monotonic() + self.now)
        self.batcher.start()

    def ask(
        self, number: int, seconds: float = PATIENCE, tokens: int = 1, tenant: str = "default"
    ) -> asyncio.Task[Prediction]:
        deadline = Deadline.after(seconds)
        return asyncio.ensure_future(self.batcher.submit([number] * tokens, deadline, tenant))

    @property
    def queued(self) -> float:
        """Seconds of what waits."""
        return self.batcher._schedule.queue.cost

    async def occupied(self) -> asyncio.Task[Prediction]:
        """Question 0 in a session that will not end it before `gate` opens."""
        self.session.gate.clear()
        task = self.ask(0)
        await self.session.is_entered()
        return task

    async def has(self, count: int) -> None:
        """Until so many wait."""
        async with asyncio.timeout(PATIENCE):
            while self.batcher.waiting < count:  # noqa: ASYNC110 - a queue gives no sign, and needs none but here
                await asyncio.sleep(0)


@pytest.fixture
async def room() -> AsyncIterator[Room]:
    room = Room()
    yield room
    room.session.gate.set()
    await room.batcher.stop()


def label(prediction: Prediction) -> int:
    return int(prediction.logits[0])


async def test_a_lone_question_is_answered_at_once(room: Room) -> None:
    prediction = await room.ask(3, tokens=4)
    assert label(prediction) == 3
    assert (prediction.batch_size, prediction.tokens) == (1, 4)
    assert set(prediction.timings) == {"queue", "infer"}
    assert room.session.batches == [[3]]


async def test_questions_behind_a_busy_session_leave_together_most_urgent_first(room: Room) -> None:
    first = await room.occupied()
    tasks = [room.ask(1, 30), room.ask(2, 10), room.ask(3, 20)]
    await room.has(3)
    room.session.gate.set()
    assert [label(one) for one in await asyncio.gather(first, *tasks)] == [0, 1, 2, 3]
    assert room.session.batches == [[0], [2, 3, 1]]
    assert (await tasks[0]).batch_size == 3


async def test_questions_of_one_deadline_leave_in_order_of_arrival(room: Room) -> None:
    await room.occupied()
    deadline = Deadline.after(PATIENCE)
    tasks = [asyncio.ensure_future(room.batcher.submit([number], deadline)) for number in (5, 4, 6)]
    await room.has(3)
    room.session.gate.set()
    await asyncio.gather(*tasks)
    assert room.session.batches[1:] == [[5, 4, 6]]


async def test_a_batch_holds_no_more_questions_than_its_limit() -> None:
    room = Room(Limits(tokens=100, questions=2))
    await room.occupied()
    tasks = [room.ask(number, 10 + number) for number in (1, 2, 3)]
    await room.has(3)
    room.session.gate.set()
    await asyncio.gather(*tasks)
    await room.batcher.stop()
    assert room.session.batches == [[0], [1, 2], [3]]


async def test_a_batch_holds_no_more_tokens_than_its_limit() -> None:
    room = Room(Limits(tokens=10, questions=8))
    await room.occupied()
    tasks = [
        room.ask(1, 11, tokens=6),
        room.ask(2, 12, tokens=4),
        room.ask(3, 13, tokens=1),
        room.ask(4, 14, tokens=50),
    ]
    await room.has(4)
    room.session.gate.set()
    await asyncio.gather(*tasks)
    await room.batcher.stop()
    assert room.session.batches == [[0], [1, 2], [3], [4]]


async def test_a_passed_deadline_is_refused_before_the_queue(room: Room) -> None:
    with pytest.raises(DeadlineExceeded, match="before inference"):
        await room.ask(1, seconds=-1)
    assert room.session.batches == []


async def test_what_expires_in_the_queue_is_never_computed(room: Room) -> None:
    await room.occupied()
    late, live = room.ask(1, seconds=0.01), room.ask(2)
    with pytest.raises(DeadlineExceeded):
        await late
    room.session.gate.set()
    assert label(await live) == 2
    assert room.session.batches == [[0], [2]]


async def test_what_is_cancelled_in_the_queue_is_never_computed(room: Room) -> None:
    await room.occupied()
    gone, live = room.ask(1, 10), room.ask(2, 20)
    await room.has(2)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    room.session.gate.set()
    assert label(await live) == 2
    assert room.session.batches == [[0], [2]]


async def test_what_is_cancelled_just_before_the_batch_forms_is_not_computed_either(room: Room) -> None:
    await room.occupied()
    gone, live = room.ask(1, 10), room.ask(2, 20)
    await room.has(2)
    gone.cancel()
    room.session.gate.set()
    assert room.session.entered.acquire(timeout=PATIENCE)  # the event loop stands still until the next batch has formed
    assert label(await live) == 2
    assert room.session.batches == [[0], [2]]
    assert room.batcher.workload().left_queue == 1


async def test_who_leaves_takes_its_cost_out_of_the_queue_at_once() -> None:
    room = Room(seconds=0.001)
    await room.occupied()
    gone, late, live = room.ask(1, tokens=10), room.ask(2, seconds=0.03, tokens=20), room.ask(3, tokens=40)
    await room.has(3)
    assert room.queued == pytest.approx(0.07)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert room.queued == pytest.approx(0.06)
    with pytest.raises(DeadlineExceeded):
        await late
    assert room.queued == pytest.approx(0.04)
    assert room.batcher.waiting == 1
    room.session.gate.set()
    await live
    assert room.queued == 0
    await room.batcher.stop()
    assert room.session.batches == [[0], [3]]
    assert room.batcher.workload().left_queue == 2


async def test_a_forecast_counts_what_runs_and_what_waits() -> None:
    room = Room(seconds=10.0)
    room.session.gate.clear()
    running = room.ask(0, seconds=9_000, tokens=100)
    await room.session.is_entered()
    waiting = room.ask(1, seconds=9_000, tokens=10)
    await room.has(1)
    seen = room.batcher.forecast(5, "default", Deadline.after(10_000))
    assert seen.wait == pytest.approx(1100, abs=PATIENCE)
    assert room.batcher.forecast(5, "default", Deadline.after(1_000)).wait == pytest.approx(1000, abs=PATIENCE)
    assert seen.service == pytest.approx(50, abs=0.01)
    assert room.batcher.workload().queued_seconds == pytest.approx(1100, abs=PATIENCE)
    room.session.gate.set()
    await asyncio.gather(running, waiting)
    await room.batcher.stop()
    assert room.batcher.workload().queued_seconds == 0


async def test_how_late_callers_hear_of_it_is_counted_too() -> None:
    room = Room(seconds=0.001)
    before = room.batcher.forecast(1, "default", Deadline.after(1)).service
    room.session.gate.clear()
    task = room.ask(0)
    await room.session.is_entered()
    room.now += 0.03  # whether in the session or on the way back
    room.session.gate.set()
    await task
    assert room.batcher.forecast(1, "default", Deadline.after(1)).service > before + 0.005
    await room.batcher.stop()


async def test_passes_correct_what_is_predicted() -> None:
    room = Room(seconds=10.0)
    for number in range(5):
        await room.ask(number)
    assert room.batcher.forecast(1, "default", Deadline.after(1)).service < 9.0
    await room.batcher.stop()


async def test_what_cannot_be_in_time_is_refused_and_not_computed() -> None:
    room = Room(Limits(tokens=100, questions=1), seconds=1.0)
    await room.occupied()
    late, live = room.ask(1, seconds=20, tokens=50), room.ask(2, seconds=25)
    await room.has(2)
    room.session.gate.set()
    with pytest.raises(DeadlineUnmeetable):
        await late
    assert label(await live) == 2
    await room.batcher.stop()
    assert room.session.batches == [[0], [2]]
    assert room.batcher.workload().late == 1


async def test_tenants_take_turns() -> None:
    room = Room(Limits(questions=1))
    await room.occupied()
    tasks = [room.ask(number, tenant="noisy") for number in (1, 2, 3)]
    await room.has(3)
    tasks.append(room.ask(4, tenant="quiet"))
    await room.has(4)
    room.session.gate.set()
    await asyncio.gather(*tasks)
    await room.batcher.stop()
    assert room.session.batches.index([4]) <= 2


async def test_tokens_for_callers_who_have_gone_are_counted_as_wasted(room: Room) -> None:
    room.session.gate.clear()
    gone = room.ask(0, tokens=30)
    await room.session.is_entered()
    live = room.ask(1, tokens=10)
    await room.has(1)
    gone.cancel()
    room.session.gate.set()
    await live
    done = room.batcher.workload()
    assert (done.tokens, done.wasted, done.left_pass, done.left_queue) == (40, 30, 1, 0)


async def test_tokens_that_came_too_late_are_wasted_before_any_timer_says_so(room: Room) -> None:
    room.session.gate.clear()
    late = room.ask(0, tokens=30)
    await room.session.is_entered()
    room.now = 2 * PATIENCE  # as if the loop had not turned meanwhile
    room.session.gate.set()
    await late
    done = room.batcher.workload()
    assert (done.tokens, done.wasted) == (30, 30)


async def test_a_caller_who_leaves_during_a_batch_disturbs_nobody(room: Room) -> None:
    gone = await room.occupied()
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    room.session.gate.set()
    assert label(await room.ask(1)) == 1


async def test_a_failing_batch_fails_only_the_question_that_fails_alone(room: Room) -> None:
    room.session.poison = {2}
    first = await room.occupied()
    tasks = [room.ask(number, 10 + number) for number in (1, 2, 3)]
    await room.has(3)
    room.session.gate.set()
    outcomes = await asyncio.gather(first, *tasks, return_exceptions=True)
    assert [label(one) for one in outcomes if isinstance(one, Prediction)] == [0, 1, 3]
    assert isinstance(outcomes[2], InferenceFailed)
    assert "the session broke" in str(outcomes[2])
    assert room.session.batches == [[0], [1, 2, 3], [1], [2], [3]]


async def test_a_session_s_own_failure_keeps_its_words(room: Room) -> None:
    room.session.poison, room.session.error = {1}, InferenceFailed("CPU failed: out of memory")
    with pytest.raises(InferenceFailed, match=r"^CPU failed: out of memory$"):
        await room.ask(1)


async def test_the_session_goes_on_after_a_failure(room: Room) -> None:
    room.session.poison = {1}
    with pytest.raises(InferenceFailed):
        await room.ask(1)
    assert label(await room.ask(2)) == 2


async def test_output_that_is_not_finite_fails_for_that_question_alone(room: Room) -> None:
    await room.occupied()
    bad, good = room.ask(-1, 10), room.ask(1, 20)
    await room.has(2)
    room.session.gate.set()
    with pytest.raises(InferenceFailed, match="not finite"):
        await bad
    assert label(await good) == 1
    assert (await good).batch_size == 2
    assert room.session.batches == [[0], [-1, 1]]


async def test_output_of_too_few_rows_does_not_end_the_thread(room: Room) -> None:
    room.session.rows = 0
    with pytest.raises(InferenceFailed, match="0 and 0 rows came for 1 questions"):
        await room.ask(1)
    await room.session.is_entered()  # that batch's sign, so that `occupied` waits for its own
    room.session.rows = 1  # of two: each is tried alone
    await room.occupied()
    tasks = [room.ask(2, 10), room.ask(3, 20)]
    await room.has(2)
    room.session.gate.set()
    assert [label(one) for one in await asyncio.gather(*tasks)] == [2, 3]
    assert room.session.batches[-3:] == [[2, 3], [2], [3]]


async def test_stopping_does_not_wait_for_a_hung_session(
    room: Room, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(batcher, "STOP_SECONDS", 0.01)
    task = await room.occupied()
    await room.batcher.stop()
    assert "is left alone" in caplog.text
    room.session.gate.set()
    assert label(await task) == 0


async def test_the_queue_is_bounded() -> None:
    room = Room(Limits(waiting=2))
    await room.occupied()
    tasks = [room.ask(1), room.ask(2)]
    await room.has(2)
    with pytest.raises(Overloaded, match="2 questions wait already"):
        await room.ask(3)
    room.session.gate.set()
    assert [label(one) for one in await asyncio.gather(*tasks)] == [1, 2]
    await room.batcher.stop()


async def test_stopping_ends_the_running_batch_and_refuses_those_that_wait(room: Room) -> None:
    first = await room.occupied()
    waiting = room.ask(1)
    await room.has(1)
    stopping = asyncio.ensure_future(room.batcher.stop())
    with pytest.raises(Unavailable, match="stopping"):
        await waiting
    room.session.gate.set()
    await stopping
    assert label(await first) == 0
    assert room.session.batches == [[0]]


async def test_a_stopped_batcher_takes_no_questions() -> None:
    room = Room()
    await room.batcher.stop()
    with pytest.raises(Unavailable):
        await room.ask(1)


async def test_a_batcher_that_was_never_started_takes_no_questions() -> None:
    session = FakeSession()
    batcher = Batcher(session, CostTable({1: 1e-6}))
    with pytest.raises(Unavailable):
        await batcher.submit([1], Deadline.after(PATIENCE))
    await batcher.stop()
    assert session.batches == []


async def test_a_hung_session_holds_nobody_beyond_the_deadline(room: Room) -> None:
    room.session.gate.clear()
    running = room.ask(0, seconds=0.05)
    await room.session.is_entered()
    waiting = room.ask(1, seconds=0.01)
    outcomes = await asyncio.gather(running, waiting, return_exceptions=True)
    assert [type(one) for one in outcomes] == [DeadlineExceeded, DeadlineExceeded]
    assert room.session.batches == [[0]]


class Falling:
    """A started batcher whose session loses its device, with a spare that computes one question at a time."""

    def __init__(self, has_spare: bool = True, spare_seconds: float = 1e-6) -> None:
        self.session, self.second = FakeSession(), FakeSession()
        self.session.error = DeviceLost("CUDA failure 700", Degradation.DEVICE_LOST)
        spare = Spare(self.second, CostTable({1: spare_seconds}), Limits(questions=1)) if has_spare else None
        self.batcher = Batcher(self.session, CostTable({1: 1e-6}), spare=spare)
        self.batcher.start()

    def ask(self, number: int, seconds: float = PATIENCE) -> asyncio.Task[Prediction]:
        return asyncio.ensure_future(self.batcher.submit([number], Deadline.after(seconds)))

    async def lose(self, *numbers: int, seconds: float = PATIENCE) -> list[asyncio.Task[Prediction]]:
        """The device is lost while it computes the first, and the others wait."""
        self.session.gate.clear()
        self.session.poison = {numbers[0]}
        first = self.ask(numbers[0], seconds)
        await self.session.is_entered()
        others = [self.ask(number, seconds) for number in numbers[1:]]
        async with asyncio.timeout(PATIENCE):
            while self.batcher.waiting < len(others):  # noqa: ASYNC110 - a queue gives no sign
                await asyncio.sleep(0)
        self.session.gate.set()
        return [first, *others]


async def test_a_lost_device_s_questions_are_computed_by_the_spare() -> None:
    falling = Falling()
    assert (await falling.ask(1)).by_spare is False
    await falling.session.is_entered()
    found = await asyncio.gather(*await falling.lose(2, 3, 4))
    later = await falling.ask(5)
    await falling.batcher.stop()
    assert [(label(one), one.by_spare) for one in (*found, later)] == [(2, True), (3, True), (4, True), (5, True)]
    assert falling.session.batches == [[1], [2]]
    assert falling.second.batches == [[2], [3], [4], [5]]
    assert falling.batcher.degraded is Degradation.DEVICE_LOST
    assert falling.batcher.is_up


async def test_what_the_spare_cannot_do_in_time_is_refused_and_not_computed() -> None:
    falling = Falling(spare_seconds=60.0)
    tasks = await falling.lose(1, 2, seconds=20)
    # While something else waits, one that will be late is dropped; the last is tried until its deadline has passed.
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    await falling.batcher.stop()
    assert isinstance(outcomes[0], DeadlineUnmeetable)
    assert falling.second.batches == [[2]]


async def test_without_a_spare_everybody_hears_of_it_at_once() -> None:
    falling = Falling(has_spare=False)
    tasks = await falling.lose(1, 2)
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    with pytest.raises(Unavailable, match="device is lost"):
        await falling.ask(3)
    await falling.batcher.stop()
    assert [type(one) for one in outcomes] == [Unavailable, Unavailable]
    assert not falling.batcher.is_up
    assert falling.batcher.workload().queued_seconds == 0


async def test_an_output_that_is_not_finite_loses_no_device() -> None:
    falling = Falling()
    with pytest.raises(InferenceFailed, match="not finite"):
        await falling.ask(-1)
    assert label(await falling.ask(2)) == 2
    await falling.batcher.stop()
    assert falling.batcher.degraded is None
    assert falling.second.batches == []
