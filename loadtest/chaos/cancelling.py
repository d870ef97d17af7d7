"""Tests 14 and 16: calls that nobody waits for any more, from the start or from some moment on."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter

import grpc.aio

from gateway.client import AsyncClient, CallFailed
from gateway.v1 import gateway_pb2 as pb
from gateway.v1 import gateway_pb2_grpc
from loadtest.chaos.http2 import CANCEL, RST_STREAM, Raw, frame, headers, message
from loadtest.chaos.neighbours import TEXTS
from loadtest.chaos.serving import QUIET, Counters, Served, served
from loadtest.chaos.verdicts import Terms, Verdict

AT_ONCE = 32
PHASE = 0.012
"""Seconds after a call's start, at most, at which it is given up: some are answered by then."""
SPARE = 8
"""Tasks and descriptors by which two quiet moments may differ."""
PER_TEN_THOUSAND = 1 << 20
"""Bytes of memory."""
RESETS_PER_SECOND = 5000
STREAMS = 64
"""Questions that are asked on a stream before it is given up."""


async def expired(terms: Terms) -> Verdict:
    verdict = Verdict()
    count = terms.of(40, 2000)
    async with served(terms) as gateway:
        before = await gateway.counted()
        raw = await Raw.to(gateway.port)
        for number in range(count):
            body = pb.AnswerRequest(question=TEXTS[number % len(TEXTS)]).SerializeToString()
            stream = 2 * number + 1
            await raw.send(headers(stream, more={"grpc-timeout": "1n"}) + message(stream, body))
            if number % AT_ONCE == 0:
                await asyncio.sleep(0.01)  # no more streams at once than the server allows
        await asyncio.sleep(QUIET)
        await raw.close()
        after = await gateway.counted()
        tokens = after.total("gateway_tokens_total") - before.total("gateway_tokens_total")
        answered = _answered(after) - _answered(before)
        verdict.saw(f"{count} calls that arrived with 1 ns left: {answered:.0f} answered, {tokens:.0f} tokens computed")
        verdict.check(tokens == 0 and answered == 0, f"{tokens:.0f} tokens were computed, {answered:.0f} were answered")
        await _hurried(verdict, gateway, count)
    return verdict


async def _hurried(verdict: Verdict, gateway: Served, count: int) -> None:
    """Little time, which for some is enough."""
    async with AsyncClient(gateway.target) as client:
        for milliseconds in (-1, 1, 5):
            before, codes = await gateway.counted(), Counter[str]()
            for text in (TEXTS[at % len(TEXTS)] for at in range(count)):
                try:
                    await client.answer(text, timeout=milliseconds / 1e3)
                    codes["OK"] += 1
                except CallFailed as error:
                    codes[error.code] += 1
            await asyncio.sleep(QUIET / 4)
            after = await gateway.counted()
            wasted = after.total("gateway_wasted_tokens_total") - before.total("gateway_wasted_tokens_total")
            verdict.saw(f"{milliseconds} ms: {dict(codes)}, {wasted:.0f} tokens for nobody")
            verdict.check(set(codes) <= {"OK", "DEADLINE_EXCEEDED"}, f"{milliseconds} ms: {dict(codes)}")
            verdict.check(milliseconds > 0 or wasted == 0, f"{milliseconds} ms: {wasted:.0f} tokens were computed")


def _answered(counters: Counters) -> float:
    return counters.total("grpc_server_handled_total", grpc_method="Answer", grpc_code="OK")


async def storm(terms: Terms) -> Verdict:
    verdict = Verdict()
    calls = terms.of(300, 100_000)
    chance = random.Random(terms.seed)  # noqa: S311 - a sample, no secret
    async with served(terms) as gateway:
        await _cancelled(gateway, calls // 10, chance)  # the first calls of all make what later ones use again
        await _settled(gateway)
        rss, tasks, descriptors = gateway.rss(), gateway.tasks(), gateway.descriptors()
        codes = await _cancelled(gateway, calls, chance)
        streams = terms.of(4, 200)
        await _given_up(gateway, streams, chance)
        quiet = await _settled(gateway)
        verdict.saw(f"{calls} calls: {dict(codes)}; {streams} streams given up; none in flight after {quiet:.2f} s")
        verdict.check(quiet < float("inf"), "calls that nobody waits for are still in flight")
        verdict.check_time(terms, quiet <= QUIET, f"calls were in flight for {quiet:.1f} s after the last")
        verdict.check(set(codes) <= {"OK", "given up"}, f"calls ended by {dict(codes)}")
        resets, connections = await _reset(gateway, terms.of(500, 50_000))
        quiet = await _settled(gateway)
        verdict.saw(f"{resets} streams reset at once over {connections} connections")
        verdict.check(quiet < float("inf"), "calls that were reset are still in flight")
        grown = gateway.rss() - rss
        allowed = (calls + resets) / 10_000 * PER_TEN_THOUSAND
        verdict.saw(
            f"tasks {tasks} -> {gateway.tasks()}, descriptors {descriptors} -> {gateway.descriptors()}, memory "
            f"{grown / 2**20:+.1f} MB"
        )
        verdict.check(gateway.tasks() <= tasks + SPARE, f"{gateway.tasks() - tasks} more tasks than before")
        verdict.check(gateway.descriptors() <= descriptors + SPARE, "descriptors were not given back")
        # Of a few hundred calls, what the allocator takes at once is more than they may lose.
        verdict.check(
            terms.is_short or grown <= allowed,
            f"memory grew by {grown / 2**20:.1f} MB, {allowed / 2**20:.1f} MB are allowed",
        )
        async with AsyncClient(gateway.target, timeout=10.0) as client:
            await client.answer(TEXTS[0])
    return verdict


async def _settled(gateway: Served) -> float:
    """Seconds until nothing is in flight; then long enough for it to have told of its tasks."""
    seconds = await gateway.in_flight_is_over()
    await asyncio.sleep(QUIET)
    return seconds


async def _cancelled(gateway: Served, calls: int, chance: random.Random) -> Counter[str]:
    """So many calls, AT_ONCE at a time; every other one is given up at a random moment."""
    codes: Counter[str] = Counter()
    numbers = iter(range(calls))
    async with grpc.aio.insecure_channel(gateway.target) as channel:
        stub = gateway_pb2_grpc.AnswersStub(channel)

        async def work() -> None:
            for number in numbers:
                call = stub.Answer(pb.AnswerRequest(question=TEXTS[number % len(TEXTS)]), timeout=10.0)
                if number % 2:
                    await asyncio.sleep(chance.uniform(0, PHASE))
                    codes["given up" if call.cancel() else "OK"] += 1
                    continue
                try:
                    await call
                    codes["OK"] += 1
                except grpc.aio.AioRpcError as error:
                    codes[error.code().name] += 1

        await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    return codes


async def _given_up(gateway: Served, count: int, chance: random.Random) -> None:
    """Streams with questions in them."""
    async with grpc.aio.insecure_channel(gateway.target) as channel:
        stub = gateway_pb2_grpc.AnswersStub(channel)
        for _ in range(count):
            call = stub.AnswerStream()
            for number in range(STREAMS):
                question = pb.AnswerRequest(question=chance.choice(TEXTS), request_id=str(number))
                await call.write(pb.AnswerStreamRequest(question=question, timeout_ms=5000))
            await asyncio.sleep(chance.uniform(0, PHASE))
            call.cancel()


async def _reset(gateway: Served, count: int) -> tuple[int, int]:
    """Streams that are opened and reset in one write, as many a second as RESETS_PER_SECOND. How many, and on how many
    connections: a server may end one that does that."""
    body = pb.AnswerRequest(question=TEXTS[0]).SerializeToString()
    began, done, connections = time.perf_counter(), 0, 0
    while done < count:
        raw, stream = await Raw.to(gateway.port), 1
        connections += 1
        try:
            while done < count and not raw.is_over:
                await raw.send(headers(stream) + message(stream, body) + frame(RST_STREAM, 0, stream, CANCEL))
                stream, done = stream + 2, done + 1
                await asyncio.sleep(max(0.0, began + done / RESETS_PER_SECOND - time.perf_counter()))
        except OSError:
            pass
        await raw.close()
    return done, connections
