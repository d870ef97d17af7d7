"""Whether drift is found soon, and nothing where there is none: the served monitors on what the real model puts out.

That nothing drifts has to be true. A finite set that is drawn from again and again is a population of its own; to a
reference that was not drawn from it it has, however alike both are, drifted by what luck there was in either, and in
100,000 questions that is found. So here the reference is drawn from the very pool that the questions are drawn from,
both with replacement: then all of them are independent and of one distribution, the pool's. It has the bundle's own
number of questions and is made as the forge makes it. The bundle's own reference is asked the questions of the same
division that are not in it, each once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gateway.cascade.cascade import Profile
from gateway.telemetry.drift.reference import Reference
from gateway.telemetry.drift.watch import DriftWatch
from gateway.telemetry.drift.window import BATCH
from gateway.types import DriftAlarm, DriftScope, Principal, Question
from loadtest.drift_world import COLLECTION, Source, World

FALSE_ALARMS = 0.01
"""As served."""
PARTS = 16
TENANTS = tuple(f"tenant-{number}" for number in range(12))
COLLECTIONS = ("cards", "accounts", "transfers")
FIRST, LAST = 500, 5000
"""Questions before the drift begins."""
PATIENCE = 1500
"""Questions for it to be found."""
RISE = 250
"""Questions in which a growing share comes to HALF."""
HALF = 0.5
TILT = 1.0
"""Standard deviation of the logarithm of what each label's share is multiplied by."""
SURGE = 0.25
"""Of all questions, what one label comes to."""
RISKS = ("before", "until", "after", "unwatched")

Picks = list[tuple[Source, int]]
Chance = np.random.Generator


# -- questions --------------------------------------------------------------------------------------------------------


def normal(world: World, chance: Chance, count: int) -> Picks:
    """Like the reference's."""
    return [(world.pool, row) for row in chance.integers(0, len(world.pool), count).tolist()]


def growing(other: Callable[[World], Source]) -> Callable[[World, Chance, int], Picks]:
    """More and more of another kind, up to HALF of all."""

    def drawn(world: World, chance: Chance, count: int) -> Picks:
        share = HALF * np.minimum(1, np.arange(1, count + 1) / RISE)
        picks, source = normal(world, chance, count), other(world)
        for at in np.flatnonzero(chance.random(count) < share).tolist():
            picks[at] = (source, int(chance.integers(0, len(source))))
        return picks

    return drawn


def misspelt(world: World, chance: Chance, count: int) -> Picks:
    """HALF of all, from one question to the next."""
    return [
        (world.typos if is_other else source, row)
        for (source, row), is_other in zip(normal(world, chance, count), chance.random(count) < HALF, strict=True)
    ]


def tilted(world: World, chance: Chance, count: int) -> Picks:
    """Each label's share times a log-normal number."""
    weights = np.exp(TILT * chance.standard_normal(world.labels.max() + 1))[world.labels]
    return [(world.pool, row) for row in chance.choice(len(world.pool), count, p=weights / weights.sum()).tolist()]


def surging(world: World, chance: Chance, count: int) -> Picks:
    """One label comes to SURGE of all."""
    own = np.flatnonzero(world.labels == chance.integers(0, world.labels.max() + 1))
    picks = normal(world, chance, count)
    for at in np.flatnonzero(chance.random(count) < SURGE).tolist():
        picks[at] = (world.pool, int(chance.choice(own)))
    return picks


DRIFTS: dict[str, tuple[str, Callable[[World, Chance, int], Picks]]] = {
    "far": (f"out of scope, far: 0 to {HALF:.0%} within {RISE} questions", growing(lambda world: world.far)),
    "near": (f"intents launched later: 0 to {HALF:.0%} within {RISE} questions", growing(lambda world: world.near)),
    "typos": (f"{HALF:.0%} of the questions misspelt", misspelt),
    "tilt": (f"shares of labels times exp(N(0, {TILT:g}))", tilted),
    "surge": (f"one label comes to {SURGE:.0%} of the questions", surging),
}


# -- runs -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Heard:
    """An alarm, after so many questions of all."""

    alarm: DriftAlarm
    questions: int


def listen(
    profile: Profile, reference: Reference, picks: Picks, asked: Sequence[Question], stops: int | None = None
) -> Iterator[Heard]:
    """The alarms of a monitor that hears of those questions; until the first one from question `stops` on."""
    heard: list[DriftAlarm] = []
    watch = DriftWatch(reference, profile.model, FALSE_ALARMS, PARTS, heard.append)
    try:
        told = 0
        for number, ((source, row), question) in enumerate(zip(picks, asked, strict=True), 1):
            watch.note(source.predictions[row], source.fresh[row], question)
            if number % BATCH:
                continue
            watch.settle()  # as on a machine that has the time
            while told < len(heard):
                yield Heard(heard[told], number)
                told += 1
                if stops is not None and number > stops:
                    return
    finally:
        watch.close()


def callers(chance: Chance, count: int) -> list[Question]:
    """Tenants of which the first ask most, and collections."""
    shares = 1 / np.arange(1, len(TENANTS) + 1)
    tenants = chance.choice(len(TENANTS), count, p=shares / shares.sum()).tolist()
    places = chance.integers(0, len(COLLECTIONS), count).tolist()
    made = {
        (tenant, place): Question("", COLLECTIONS[place], Principal(TENANTS[tenant]))
        for tenant in range(len(TENANTS))
        for place in range(len(COLLECTIONS))
    }
    return [made[pair] for pair in zip(tenants, places, strict=True)]


def quiet(world: World, seed: int, count: int) -> list[Heard]:
    """The alarms of so many questions, by many tenants, where nothing drifts."""
    chance = np.random.default_rng([seed, 0])
    reference = world.reference_of(chance.integers(0, len(world.pool), world.reference.questions))
    return list(listen(world.profile, reference, normal(world, chance, count), callers(chance, count)))


def shipped(world: World, seed: int) -> list[Heard]:
    """The alarms of the bundle's own reference, asked each question of its division that is not in it once."""
    rows = np.arange(len(world.pool) - world.unseen, len(world.pool))
    picks = [(world.pool, row) for row in np.random.default_rng(seed).permutation(rows).tolist()]
    return list(listen(world.profile, world.reference, picks, [Question("", COLLECTION)] * len(picks)))


@dataclass(frozen=True, slots=True)
class Found:
    """`delay` in questions from the first that drifts to the alarm, None where there was none; `early` alarms came
    before. Of the answers that the model gave, (wrong, all): `before` the drift, `until` the alarm, and `after` it, and
    what they would be then if nobody had watched, `unwatched`."""

    delay: int | None
    early: int
    monitor: str
    before: tuple[int, int]
    until: tuple[int, int]
    after: tuple[int, int]
    unwatched: tuple[int, int]


def drifting(world: World, kind: str, seed: int) -> Found:
    """One run in which drift begins somewhere between FIRST and LAST."""
    chance = np.random.default_rng([seed, 1 + list(DRIFTS).index(kind)])
    begins = int(chance.integers(FIRST, LAST))
    reference = world.reference_of(chance.integers(0, len(world.pool), world.reference.questions))
    picks = normal(world, chance, begins) + DRIFTS[kind][1](world, chance, PATIENCE)
    asked = [Question("", COLLECTION)] * len(picks)
    heard = list(listen(world.profile, reference, picks, asked, begins))
    late = [one for one in heard if one.questions > begins]
    ends = late[0].questions if late else len(picks)
    return Found(
        late[0].questions - begins if late else None,
        len(heard) - len(late),
        late[0].alarm.monitor.value if late else "",
        _risk(picks[:begins], is_stale=False),
        _risk(picks[begins:ends], is_stale=False),
        _risk(picks[ends:], is_stale=True),
        _risk(picks[ends:], is_stale=False),
    )


def _risk(picks: Picks, *, is_stale: bool) -> tuple[int, int]:
    answered = [source.is_right[int(is_stale), row] for source, row in picks if source.by_model[int(is_stale), row]]
    return len(answered) - int(sum(answered)), len(answered)


@dataclass(frozen=True, slots=True)
class Named:
    """Whose alarms there were where one tenant drifts: `delay` in its own questions, None where it was not named;
    whether `others` were named, or all."""

    delay: int | None
    others: bool


def naming(world: World, seed: int) -> Named:
    """One of the smaller tenants asks about other things from some question on, half of the time."""
    chance = np.random.default_rng([seed, 99])
    begins, count = int(chance.integers(FIRST, LAST)), 10 * PATIENCE
    reference = world.reference_of(chance.integers(0, len(world.pool), world.reference.questions))
    picks, asked = normal(world, chance, begins + count), callers(chance, begins + count)
    strange = TENANTS[int(chance.integers(3, len(TENANTS)))]
    own = [at for at in range(begins, len(picks)) if asked[at].principal.tenant == strange]
    for at in own:
        if chance.random() < HALF:
            picks[at] = (world.far, int(chance.integers(0, len(world.far))))
    heard = list(listen(world.profile, reference, picks, asked, begins))
    ours = [one for one in heard if (one.alarm.scope, one.alarm.name) == (DriftScope.TENANT, strange)]
    delay = sum(at < ours[0].questions for at in own) if ours else None
    return Named(delay, len(ours) < len(heard))


def cost(world: World, count: int = 100 * BATCH) -> dict[str, float]:
    """Microseconds a question: on the path of answers, and of the process as a whole, on one thread each. The least of
    some rounds, as others may use the machine."""
    chance = np.random.default_rng(0)
    picks, asked = normal(world, chance, count), [Question("", COLLECTION)] * count
    watch = DriftWatch(world.reference, world.profile.model, FALSE_ALARMS, PARTS, lambda alarm: None)
    path, whole = [], []
    try:
        for _ in range(5):
            began, noted = time.process_time(), 0.0
            for number, ((source, row), question) in enumerate(zip(picks, asked, strict=True), 1):
                started = time.perf_counter()
                watch.note(source.predictions[row], source.fresh[row], question)
                noted += time.perf_counter() - started
                if not number % BATCH:
                    watch.settle()
            path.append(noted / count)
            whole.append((time.process_time() - began) / count)
    finally:
        watch.close()
    return {"path": round(1e6 * min(path), 2), "process": round(1e6 * min(whole), 2)}


# -- all of it --------------------------------------------------------------------------------------------------------


def summary(found: Sequence[Found]) -> dict[str, Any]:
    """Of one kind of drift over many seeds; a run without an alarm counts as one that took PATIENCE."""
    delays = [PATIENCE if one.delay is None else one.delay for one in found]

    def risk(name: str) -> float | None:
        wrong, answered = (sum(getattr(one, name)[at] for one in found) for at in (0, 1))
        return round(wrong / answered, 4) if answered else None

    return {
        "runs": len(found),
        "median": float(np.median(delays)),
        "p90": float(np.percentile(delays, 90)),
        "worst": max(delays),
        "missed": sum(one.delay is None for one in found),
        "early": sum(one.early for one in found),
        "first": {name: sum(one.monitor == name for one in found) for name in sorted({one.monitor for one in found})},
        "wrong_of_model_answers": {name: risk(name) for name in RISKS},
    }
