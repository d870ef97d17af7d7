"""Tests 6, 8 and 24: a model that raises, gives no numbers or hangs; and one whose answers do not depend on who else
asks."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence

from gateway.client import AsyncClient, CallFailed
from gateway.types import Answer, Policy, Reason, Route
from loadtest.chaos.neighbours import TEXTS
from loadtest.chaos.serving import Served, served
from loadtest.chaos.verdicts import Terms, Verdict

OURS = {"UNKNOWN", "INTERNAL"}
"""Codes that nobody may see, whatever fails."""
MENDED = 5.0
"""Seconds after it was mended, in which a tier has to be asked again."""
LATE = 0.020
"""Seconds by which a deadline may be missed."""
NOT_LIVE = 12.0
"""Seconds after which /livez has to say that a model hangs: 10, and two looks."""
CLOSE = 1e-3
"""Of a confidence."""
Came = Answer | str
"""An answer, or the code of a failure."""


async def failing(terms: Terms) -> Verdict:
    verdict = Verdict()
    async with served(terms) as gateway, _client(gateway) as client:
        count = terms.of(40, 400)
        for name, fault in {
            "raises once": "model-run=error*1",
            "raises in 20 %": "model-run=error%20",
            "always raises": "model-run=error",
            "always no number": "model-run=nan",
        }.items():
            gateway.fail(fault)
            await asyncio.sleep(0.05)
            came = await _asked(client, _texts(count))
            verdict.saw(f"{name}: {_counted(came)}")
            verdict.check(not OURS & {one for one in came if isinstance(one, str)}, f"{name}: {_counted(came)}")
            _judge_failing(verdict, name, came)
            gateway.fail("")
            await _mended(terms, verdict, name, client)
        counters = await gateway.counted()
        if not counters.has("gateway_breaker_state"):
            verdict.unjudged.append("the breaker: this gateway has none")
    return verdict


def _judge_failing(verdict: Verdict, name: str, came: Sequence[Came]) -> None:
    refused = [one for one in came if isinstance(one, str)]
    marked = sum(isinstance(one, Answer) and one.reason is Reason.MODEL_UNAVAILABLE for one in came)
    if "once" in name:
        verdict.check(len(refused) + marked <= 1, f"{name}: {marked} degraded and {refused} refused, of one bad pass")
    if "always" in name:
        model = sum(isinstance(one, Answer) and one.route is Route.MODEL for one in came)
        verdict.check(model == 0, f"{name}: {model} answers by a model that cannot answer")
        verdict.check(not refused and marked == len(came), f"{name}: {marked} of {len(came)} were answered and marked")


async def _mended(terms: Terms, verdict: Verdict, name: str, client: AsyncClient) -> None:
    began = time.monotonic()
    while time.monotonic() - began < terms.of(20.0, MENDED):
        (answer,) = await _asked(client, TEXTS[:1])
        if isinstance(answer, Answer) and answer.reason is not Reason.MODEL_UNAVAILABLE:
            return
        await asyncio.sleep(0.05)
    verdict.faults.append(f"{name}: the model is not asked again {time.monotonic() - began:.0f} s after it was mended")


async def hanging(terms: Terms) -> Verdict:
    verdict = Verdict()
    async with served(terms) as gateway, _client(gateway, timeout=0.5) as client:
        gateway.fail(f"model-run=sleep:{terms.of(3, 30)}*1")
        await asyncio.sleep(0.05)
        began = time.perf_counter()
        ended: list[float] = []

        async def timed(text: str) -> Came:
            (came,) = await _asked(client, (text,))
            ended.append(time.perf_counter() - began)
            return came

        came = await asyncio.gather(*map(timed, _texts(30)))
        verdict.saw(f"deadline 500 ms: {_counted(came)}, the last after {1e3 * max(ended):.0f} ms")
        verdict.check(not OURS & {one for one in came if isinstance(one, str)}, f"{_counted(came)}")
        verdict.check(max(ended) < terms.of(2.5, 5.0), f"a caller waited {max(ended):.1f} s for a deadline of 0.5 s")
        verdict.check_time(terms, max(ended) <= 0.5 + LATE, f"the last ended {1e3 * (max(ended) - 0.5):.0f} ms late")
        lag = await _loop_lag(gateway)
        verdict.saw(f"event loop late by more than 20 ms: {lag:.1%} of looks")
        verdict.check_time(terms, lag <= 0.01, "the event loop's lag p99 is above 20 ms")
        await _not_live(terms, verdict, gateway, began)
        await _mended(Terms(terms.folder, is_short=True), verdict, "hang", client)
        verdict.check(await gateway.is_alive(), "it is not live, though the hang is over")
    return verdict


async def _not_live(terms: Terms, verdict: Verdict, gateway: Served, began: float) -> None:
    if terms.is_short:
        verdict.unjudged.append("/livez, which tells of a hang of 10 s")
        return
    while await gateway.is_alive() and time.perf_counter() - began < NOT_LIVE:  # noqa: ASYNC110
        await asyncio.sleep(0.1)
    seconds = time.perf_counter() - began
    verdict.saw(f"/livez said so after {seconds:.1f} s")
    verdict.check(not await gateway.is_alive(), f"it is live, {seconds:.0f} s after its model began to hang")


async def _loop_lag(gateway: Served) -> float:
    """The share of the loop's wake-ups that were more than 20 ms late."""
    now = await gateway.counted()
    name = "gateway_event_loop_lag_seconds"
    total = now.total(f"{name}_count")
    return 1 - now.total(f"{name}_bucket", le="0.02") / total if total else 0.0


async def invariant(terms: Terms) -> Verdict:
    """The same texts alone, and then in batches and crowds of all sizes."""
    verdict = Verdict()
    async with served(terms) as gateway, _client(gateway) as client:
        texts = _texts(terms.of(40, 200))
        alone = [await client.answer(text, policy=Policy.MODEL_ONLY) for text in texts]
        worst, flips, sizes, compared = 0.0, 0, Counter[int](), 0
        for size in terms.of((7, 40), (2, 3, 7, 16, 40, 100, 200)):
            for at in range(0, len(texts), size):
                crowd = texts[at : at + size]
                together = [
                    *await client.answer_batch(crowd, policy=Policy.MODEL_ONLY),
                    *await asyncio.gather(*(client.answer(text, policy=Policy.MODEL_ONLY) for text in crowd)),
                ]
                for one, other in zip([*alone[at : at + size]] * 2, together, strict=True):
                    if isinstance(other, CallFailed):
                        verdict.faults.append(f"a batch of {size}: {other}")
                        continue
                    compared += 1
                    sizes[other.batch_size] += 1
                    worst = max(worst, abs(one.confidence - other.confidence))
                    is_at_threshold = abs(one.confidence - one.threshold) <= CLOSE
                    flips += one.label != other.label or (one.route is not other.route and not is_at_threshold)
        verdict.saw(
            f"{compared} answers in passes of up to {max(sizes)} questions: confidence differs by at most {worst:.1e}, "
            f"{flips} other decisions"
        )
        verdict.check(worst <= CLOSE, f"a confidence differs by {worst:.2e}")
        verdict.check(flips == 0, f"{flips} decisions differ by who else asked")
        verdict.check(max(sizes) > 1, "no pass had more than one question: nothing was compared")
    return verdict


def _texts(count: int) -> list[str]:
    return [TEXTS[at % len(TEXTS)] for at in range(count)]


def _client(gateway: Served, timeout: float = 5.0) -> AsyncClient:
    return AsyncClient(gateway.target, timeout=timeout)


async def _asked(client: AsyncClient, texts: Sequence[str]) -> list[Came]:
    """One after the other."""
    came: list[Came] = []
    for text in texts:
        try:
            came.append(await client.answer(text))
        except CallFailed as error:
            came.append(error.code)
    return came


def _counted(came: Sequence[Came]) -> str:
    counts = Counter(one if isinstance(one, str) else f"{one.route.value}/{one.reason.value}" for one in came)
    return ", ".join(f"{count} {name}" for name, count in counts.most_common())
