"""Who gets in: room, quota, time, and how much it matters; and what is given back."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import suppress
from dataclasses import replace

import pytest

from gateway.config import AdmissionSection, Config, ServerSection
from gateway.deadline import Deadline
from gateway.errors import DeadlineUnmeetable, Draining, Overloaded, QuotaExceeded, Shed
from gateway.rpc.admission import Admission, Caller, Terms, terms_of
from gateway.rpc.quota import Rate
from gateway.rpc.shedding import Waits
from gateway.types import Criticality, Forecast, Principal

TERMS = Terms(permits=10)
C = Criticality


class Gate:
    """An admission on a clock and a forecast that a test sets, and a draw that refuses whom it can."""

    def __init__(self, terms: Terms = TERMS) -> None:
        self.now = 100.0
        self.wait = self.backlog = 0.0
        self.drawn = 0.0
        self.asked: list[tuple[int, str]] = []
        self.admission = Admission(terms, self._forecast, lambda: self.now, lambda: self.drawn)

    def _forecast(self, characters: int, tenant: str, deadline: Deadline) -> Forecast:
        self.asked.append((characters, tenant))
        return Forecast(self.wait, max(self.wait, self.backlog), service=0.005, cost=0.004)

    def admit(self, caller: Caller | None = None, timeout: float = 0.2) -> bool:
        """Ask once; whether a search is allowed."""
        deadline = Deadline.after(timeout, lambda: self.now)
        with self.admission.admit(caller or Caller(Principal()), 30, deadline) as ticket:
            return ticket.may_search

    def is_let_in(self, criticality: Criticality, timeout: float = 0.2) -> bool:
        try:
            self.admit(Caller(Principal(), criticality), timeout)
        except Shed:
            return False
        return True

    def raise_level(self, level: float) -> None:
        """By a queue that stood, and is gone."""
        for backlog, later in ((0.05, 0.0), (level / 0.05 * 0.02, 0.125)):
            self.now += later
            self.backlog = backlog
            self.admit()
        self.backlog = 0.0
        assert self.admission.level() == pytest.approx(level)


@pytest.fixture
def gate() -> Gate:
    return Gate()


def test_a_question_is_forecast_by_its_length_and_tenant(gate: Gate) -> None:
    assert gate.admit(Caller(Principal("acme")))
    assert gate.asked == [(30, "acme")]


# -- room -------------------------------------------------------------------------------------------------------------


def test_permits_are_given_back_whatever_happens(gate: Gate) -> None:
    with contextlib.suppress(RuntimeError), gate.admission.permit("a", 4):
        assert gate.admission.in_flight == 4
        raise RuntimeError
    assert gate.admission.in_flight == 0


def test_no_more_is_in_flight_than_the_limit(gate: Gate) -> None:
    with gate.admission.permit("a", 9):
        with gate.admission.permit("a"):
            pass
        with pytest.raises(Overloaded, match="9 questions in flight, limit 10"):
            gate.admission.permit("a", 2)


def test_a_batch_wider_than_the_limit_waits_for_room_and_not_for_ever(gate: Gate) -> None:
    with gate.admission.permit("a", 99):
        assert gate.admission.in_flight == 10
    with gate.admission.permit("b"), pytest.raises(Overloaded):
        gate.admission.permit("a", 99)


def test_a_tenant_alone_may_hold_all_permits(gate: Gate) -> None:
    with gate.admission.permit("a", 9), gate.admission.permit("a"):
        assert gate.admission.in_flight == 10


def test_while_others_ask_a_tenant_holds_no_more_than_its_share(gate: Gate) -> None:
    with gate.admission.permit("quiet"), gate.admission.permit("noisy", 5):
        with pytest.raises(Overloaded, match="5 questions of this tenant in flight, while others ask limit 5"):
            gate.admission.permit("noisy")
        with gate.admission.permit("quiet", 4):
            assert gate.admission.in_flight == 10


def test_a_batch_wider_than_the_share_waits_for_its_own_tenant_alone(gate: Gate) -> None:
    with gate.admission.permit("quiet"):
        with gate.admission.permit("noisy", 7):
            assert gate.admission.in_flight == 8
        with gate.admission.permit("noisy"), pytest.raises(Overloaded):
            gate.admission.permit("noisy", 7)


def test_a_tenant_that_is_refused_for_want_of_room_counts_as_asking(gate: Gate) -> None:
    with gate.admission.permit("noisy", 9):
        with gate.admission.permit("noisy"), pytest.raises(Overloaded):
            gate.admission.permit("quiet")
        with pytest.raises(Overloaded):
            gate.admission.permit("noisy")
        with gate.admission.permit("quiet"):
            pass
        gate.now += 2
        with gate.admission.permit("noisy"):
            pass


async def test_a_closed_door_lets_in_what_was_read_before_and_waits_for_its_stream(gate: Gate) -> None:
    with gate.admission.stream():
        gate.admission.close()
        with gate.admission.permit("a", is_due=True):
            assert gate.admission.in_flight == 1
        idle = asyncio.create_task(gate.admission.idle())
        await asyncio.sleep(0)
        assert not idle.done()
    await asyncio.wait_for(idle, 5)


async def test_a_closed_door_lets_nobody_in_and_waits_for_the_last(gate: Gate) -> None:
    with gate.admission.permit("a"):
        gate.admission.close()
        await gate.admission.streams_end()
        with pytest.raises(Draining):
            gate.admission.permit("a")
        idle = asyncio.create_task(gate.admission.idle())
        await asyncio.sleep(0)
        assert not idle.done()
    await asyncio.wait_for(idle, 5)


# -- quota ------------------------------------------------------------------------------------------------------------


def test_there_is_no_quota_unless_one_is_set(gate: Gate) -> None:
    for _ in range(10_000):
        gate.admit()


def test_a_tenant_s_quota_is_its_own() -> None:
    gate = Gate(replace(TERMS, rate=Rate(second=2, burst=3)))
    for _ in range(3):
        gate.admit(Caller(Principal("a")))
    with pytest.raises(QuotaExceeded) as caught:
        gate.admit(Caller(Principal("a")))
    assert caught.value.retry_after == pytest.approx(0.5)
    assert caught.value.tenant == "a"
    gate.admit(Caller(Principal("b")))
    gate.now += 0.5
    gate.admit(Caller(Principal("a")))


def test_what_is_refused_for_another_reason_takes_no_quota() -> None:
    gate = Gate(replace(TERMS, rate=Rate(second=1, burst=1)))
    gate.wait = 0.3
    for _ in range(5):
        with pytest.raises(DeadlineUnmeetable):
            gate.admit()
    gate.wait = 0.0
    gate.admit()


# -- time -------------------------------------------------------------------------------------------------------------


def test_what_cannot_be_in_time_is_told_so_in_milliseconds(gate: Gate) -> None:
    gate.wait = 0.1
    with pytest.raises(
        DeadlineUnmeetable, match=r"^predicted 100\.0 ms of waiting and 5\.0 ms of work, and 50\.0 ms are"
    ):
        gate.admit(timeout=0.05)


def test_to_the_last_millisecond_it_is_let_in(gate: Gate) -> None:
    gate.wait = 0.0151
    critical = Caller(Principal(), C.CRITICAL_PLUS)
    with pytest.raises(DeadlineUnmeetable):
        gate.admit(critical, timeout=0.02)
    gate.wait = 0.0149
    gate.admit(critical, timeout=0.02)


def test_an_idle_session_tries_whatever_is_predicted(gate: Gate) -> None:
    gate.admit(timeout=0.001)


# -- what matters -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("level", "let_in"),
    [
        (0.2, [C.CRITICAL_PLUS, C.CRITICAL, C.SHEDDABLE_PLUS, C.SHEDDABLE]),
        (0.55, [C.CRITICAL_PLUS, C.CRITICAL]),
        (0.9, [C.CRITICAL_PLUS]),
    ],
)
def test_by_the_level_the_least_critical_are_refused_first(level: float, let_in: list[Criticality]) -> None:
    gate = Gate(replace(TERMS, waits=Waits(most=1.0)))
    gate.raise_level(level)
    gate.wait = 0.03
    assert [criticality for criticality in C if gate.is_let_in(criticality)] == let_in


def test_a_refusal_tells_the_level_it_was_made_at(gate: Gate) -> None:
    gate.raise_level(1.0)
    gate.wait = 0.03
    with pytest.raises(Shed, match=r"^predicted 30 ms of waiting, too long at shed level 1\.0") as caught:
        gate.admit()
    assert caught.value.level == pytest.approx(1.0)


def test_chance_decides_where_only_some_are_refused(gate: Gate) -> None:
    gate.raise_level(0.875)
    gate.wait = 0.03
    gate.drawn = 0.49
    assert not gate.is_let_in(C.CRITICAL)
    gate.drawn = 0.51
    assert gate.is_let_in(C.CRITICAL)


def test_one_tenant_s_queue_raises_nobody_else_s_level(gate: Gate) -> None:
    gate.raise_level(1.0)
    gate.wait = 0.03
    gate.admit(Caller(Principal("quiet"), C.SHEDDABLE), timeout=1.0)


def test_a_call_is_not_shed_for_its_own_questions(gate: Gate) -> None:
    caller = Caller(Principal())
    deadline = Deadline.after(1.0, lambda: gate.now)
    tickets = []
    for _ in range(150):  # 0.6 s of work, each question behind those before it
        tickets.append(gate.admission.admit(caller, 30, deadline))
        tickets[-1].__enter__()
        gate.wait += 0.004
        gate.now += 0.001
    assert gate.admission.level() == 0
    with pytest.raises(Shed):
        gate.admit(Caller(Principal()), timeout=1.0)
    for ticket in tickets:
        ticket.__exit__(None, None, None)
    assert caller.pending == pytest.approx(0.0)


def called(waited: float | None, timeout: float = 0.2, tenant: str = "default") -> Caller:
    return Caller(Principal(tenant), timeout=timeout, waited=waited)


class Traffic:
    """Calls of 200 ms, one each 10 ms, that have waited for as long as a test says; how many were shed."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.shed = 0

    def comes(self, *waited: float | None, times: int = 100) -> None:
        for seconds in waited * times:
            self.gate.now += 0.01
            try:
                self.gate.admit(called(seconds), timeout=0.2 - (seconds or 0.0))
            except Shed:
                self.shed += 1


@pytest.fixture
def traffic(gate: Gate) -> Traffic:
    return Traffic(gate)


def test_calls_that_have_waited_longer_than_others_before_are_a_queue(traffic: Traffic) -> None:
    traffic.comes(0.001, times=5)
    traffic.comes(0.06)
    assert traffic.shed > 5
    with pytest.raises(Shed, match="59 ms on its way and predicted 0 ms"):
        traffic.gate.admit(called(0.06), timeout=0.14)
    before = traffic.shed
    traffic.comes(0.001)
    assert traffic.shed == before  # who has not waited is let in at any level


def test_what_a_proxy_or_a_slow_network_always_takes_is_no_queue(traffic: Traffic) -> None:
    traffic.comes(0.1, 0.105, times=100)
    assert traffic.shed == 0
    assert traffic.gate.admission.level() == 0


def test_a_new_connection_here_and_there_is_no_queue(traffic: Traffic) -> None:
    traffic.comes(*[0.001] * 7, 0.1, times=40)
    assert traffic.shed == 0


def test_callers_who_do_not_tell_do_not_hide_a_queue(traffic: Traffic) -> None:
    traffic.comes(0.001, times=5)
    traffic.comes(0.06, 0.06, None)
    assert traffic.shed > 5


def test_where_nobody_tells_there_is_no_such_queue(traffic: Traffic) -> None:
    traffic.comes(None, times=100)
    assert (traffic.shed, traffic.gate.admission.level()) == (0, 0)


def test_a_queue_is_a_tenant_s_own(traffic: Traffic) -> None:
    traffic.comes(0.001, times=5)
    traffic.comes(0.06)
    assert traffic.gate.admit(called(0.06, tenant="other"), timeout=0.14)


def test_the_share_of_time_that_was_waited_is_of_the_whole_time(gate: Gate) -> None:
    """Not of what a server allows at most."""
    for _ in range(50):
        gate.now += 0.01
        gate.admit(called(0.0, timeout=120.0), timeout=10.0)
        gate.now += 0.01
        gate.admit(called(4.0, timeout=120.0), timeout=10.0)
    assert gate.admission.level() == 0


def test_nobody_is_shed_where_that_is_switched_off() -> None:
    gate = Gate(replace(TERMS, waits=None))
    gate.wait = 0.15
    for _ in range(100):
        gate.now += 0.01
        assert gate.is_let_in(C.SHEDDABLE)
    assert gate.admission.level() == 0


# -- the brown-out ----------------------------------------------------------------------------------------------------


def test_before_anybody_is_refused_the_sheddable_do_without_a_search(gate: Gate) -> None:
    gate.raise_level(0.22)
    gate.wait = 0.001
    assert {criticality: gate.admit(Caller(Principal(), criticality)) for criticality in C} == {
        C.CRITICAL_PLUS: True,
        C.CRITICAL: True,
        C.SHEDDABLE_PLUS: False,
        C.SHEDDABLE: False,
    }


def test_below_its_level_there_is_no_brown_out(gate: Gate) -> None:
    gate.raise_level(0.19)
    assert gate.admit(Caller(Principal(), C.SHEDDABLE))


# -- settings ---------------------------------------------------------------------------------------------------------


def test_the_settings_are_the_terms() -> None:
    assert terms_of(Config()) == Terms(1024)
    section = AdmissionSection(
        tenant_rate=10, tenant_burst=5, tenant_share=0.25, target_wait_ms=5, max_wait_share=0.5, brownout_level=1
    )
    config = Config(server=ServerSection(max_in_flight=8), admission=section)
    assert terms_of(config) == Terms(8, 0.25, Rate(10, 5), Waits(0.005, 0.5), 1.0)


def test_a_tenant_may_have_a_rate_of_its_own() -> None:
    section = AdmissionSection(tenant_rate=10, tenant_rates={"large": 100, "tiny": 0.1, "free": 0})
    terms = terms_of(Config(admission=section))
    assert terms.rates == {"large": Rate(100, 200), "tiny": Rate(0.1, 1), "free": None}
    gate = Gate(terms)
    let_in = {}
    for tenant in ("large", "tiny", "free", "other"):
        let_in[tenant] = 0
        for _ in range(250):
            with suppress(QuotaExceeded):
                gate.admit(Caller(Principal(tenant)))
                let_in[tenant] += 1
    assert let_in == {"large": 200, "tiny": 1, "free": 250, "other": 20}


@pytest.mark.parametrize(("rate", "burst"), [(10.0, 20.0), (0.1, 1.0)])
def test_a_burst_that_nobody_set_is_two_seconds(rate: float, burst: float) -> None:
    assert terms_of(Config(admission=AdmissionSection(tenant_rate=rate))).rate == Rate(rate, burst)


def test_shedding_can_be_switched_off() -> None:
    assert terms_of(Config(admission=AdmissionSection(shed=False))).waits is None
