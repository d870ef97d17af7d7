"""Tests 11, 12, 13 and 15: clients that are slow, gone, too large, malformed, or too many; and what others notice."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
import trustme

from gateway.client import AsyncClient, CallFailed
from gateway.v1 import gateway_pb2 as pb
from gateway.v1 import gateway_pb2_grpc
from loadtest.chaos.http2 import ANSWER, Raw, frame, headers, message
from loadtest.chaos.neighbours import TEXTS, neighbours, nobody_noticed
from loadtest.chaos.proxy import proxied
from loadtest.chaos.serving import QUIET, Served, served, until
from loadtest.chaos.verdicts import Terms, Verdict

KEEPALIVE = 75.0
"""Seconds after which a connection that does not answer is gone: the server asks after 60, and waits 10."""
PER_STREAM = 1 << 20
"""Bytes of memory that a stream which nobody reads may take."""
PAUSE = 0.05
"""Seconds between two questions on such a stream: enough for more answers than are sent unread. Without one, 20 streams
ask 4,000 a second, and that is an overload, which is another test."""
PER_SOCKET = 50_000
MESSAGE = 4 << 20
"""Bytes of the longest message that is taken."""
SPARE = 24
"""Descriptors by which two quiet moments may differ."""
FORBIDDEN = {"UNKNOWN", "INTERNAL"}
INNER = ("Traceback", "gateway.", "site-packages", "Error(", "<class")
"""Words that callers are not told."""


async def _beside(terms: Terms, verdict: Verdict, gateway: Served, work: Callable[[], Awaitable[None]]) -> None:
    """`work` while neighbours ask, as long before it as it took."""
    async with neighbours(terms, gateway.target) as found:
        began = time.perf_counter()
        await asyncio.sleep(terms.of(0.5, 20.0))
        since = time.perf_counter()
        await work()
        await asyncio.sleep(max(0.0, terms.of(0.5, 20.0) - (time.perf_counter() - since)))
        until = time.perf_counter()
    assert began < since
    nobody_noticed(terms, verdict, found, since, until)


async def slow(terms: Terms) -> Verdict:
    verdict = Verdict()
    async with served(terms) as gateway, proxied(gateway.port) as slowly, proxied(gateway.port) as cut:
        descriptors = gateway.descriptors()

        async def work() -> None:
            await _unread(terms, verdict, gateway)
            slowly.rate = 1.0
            trickling = [asyncio.create_task(_trickled(slowly.port)) for _ in range(terms.of(4, 50))]
            await _half_open(terms, verdict, gateway, cut.port, lambda: setattr(cut, "is_hole", True))
            for one in trickling:
                one.cancel()
            await asyncio.gather(*trickling, return_exceptions=True)
            slowly.reset()
            cut.reset()

        await _beside(terms, verdict, gateway, work)
        await _given_back(verdict, gateway, descriptors)
    return verdict


async def _trickled(port: int) -> None:
    """A question that arrives by one byte a second."""
    async with AsyncClient(f"127.0.0.1:{port}", timeout=60.0) as client:
        with contextlib.suppress(CallFailed):
            await client.answer(TEXTS[0])


async def _unread(terms: Terms, verdict: Verdict, gateway: Served) -> None:
    """Streams on which questions are asked as long as they are taken, and whose answers are never read."""
    streams, before = terms.of(2, 20), gateway.rss()
    async with grpc.aio.insecure_channel(gateway.target) as channel:
        stub = gateway_pb2_grpc.AnswersStub(channel)
        calls = [stub.AnswerStream(metadata=(("x-tenant", "slow"),)) for _ in range(streams)]
        asked = await asyncio.gather(*(_written(call, terms.of(1.0, 15.0), terms.of(0.001, PAUSE)) for call in calls))
        grown = (gateway.rss() - before) / streams
        for call in calls:
            call.cancel()
    verdict.saw(f"{streams} streams never read took {sum(asked)} questions, {grown / 1024:.0f} kB of memory each")
    verdict.check(terms.is_short or grown <= PER_STREAM, f"a stream that is not read takes {grown / 2**20:.1f} MB")


async def _written(call: Any, seconds: float, pause: float) -> int:
    count = 0
    with contextlib.suppress(TimeoutError, grpc.aio.AioRpcError):
        async with asyncio.timeout(seconds):
            while True:
                question = pb.AnswerRequest(question=TEXTS[count % len(TEXTS)], request_id=str(count))
                await call.write(pb.AnswerStreamRequest(question=question, timeout_ms=10_000))
                count += 1
                await asyncio.sleep(pause)
    return count


async def _half_open(terms: Terms, verdict: Verdict, gateway: Served, port: int, break_it: Callable[[], None]) -> None:
    """Connections whose other end is gone without a word."""
    before = gateway.descriptors()
    clients = [AsyncClient(f"127.0.0.1:{port}", timeout=10.0) for _ in range(terms.of(2, 10))]
    for client in clients:
        await client.answer(TEXTS[0])
    opened = gateway.descriptors() - before
    break_it()
    if terms.is_short:
        verdict.unjudged.append("half-open connections, which are looked for after a minute")
    else:
        seconds = await until(lambda: gateway.descriptors() <= before, KEEPALIVE + 30)
        verdict.saw(f"{opened} half-open connections were gone after {seconds:.0f} s")
        verdict.check(seconds <= KEEPALIVE, f"half-open connections are there after {seconds:.0f} s")
    for client in clients:
        await client.close()


async def _given_back(verdict: Verdict, gateway: Served, descriptors: int) -> None:
    await until(lambda: gateway.descriptors() <= descriptors + SPARE, 20.0)
    verdict.saw(f"descriptors {descriptors} -> {gateway.descriptors()}")
    verdict.check(gateway.descriptors() <= descriptors + SPARE, "descriptors were not given back")


async def oversized(terms: Terms) -> Verdict:
    verdict = Verdict()
    async with served(terms) as gateway:
        before = 0

        async def work() -> None:
            nonlocal before
            before = gateway.rss()  # which the first questions of all have made larger by 10 MB
            codes = await _odd(gateway, verdict)
            verdict.saw(f"codes: {codes}")
            for lie in (MESSAGE + 1, (1 << 31) - 1, (1 << 32) - 1):
                raw = await Raw.to(gateway.port)
                await raw.send(headers(1) + message(1, b"x" * 1000, lie))
                await raw.over(0.2)
                await raw.close()

        await _beside(terms, verdict, gateway, work)
        grown = gateway.rss() - before
        verdict.saw(f"memory {grown / 2**20:+.1f} MB")
        verdict.check(terms.is_short or grown <= 2 * MESSAGE, f"memory grew by {grown / 2**20:.1f} MB")
    return verdict


async def _odd(gateway: Served, verdict: Verdict) -> dict[str, str]:
    """What is too large, too long or no text, and the code that each ends by."""
    text = pb.AnswerRequest(question=TEXTS[0]).SerializeToString()
    unknown = b"".join(bytes((0xFA, 0x07, 0x01, 0x61)) for _ in range(10_000))
    cases: dict[str, tuple[bytes, tuple[tuple[str, str], ...]]] = {
        "a message of 4 MB and a byte": (b"x" * (MESSAGE + 1), ()),
        "metadata of 20 kB": (text, (("x-more", "x" * 20_480),)),
        "10,000 words": (_question("word " * 10_000), ()),
        "a million of one character": (_question("a" * 1_000_000), ()),
        "10,000 unknown fields": (text + unknown, ()),
        "groups within groups": (text + b"\x7b" * 5000 + b"\x7c" * 5000, ()),
        "a NUL": (_question("Is this\0it?"), ()),
        "a lone surrogate": (b"\x0a\x03\xed\xa0\x80", ()),
        "right to left": (_question("متى ستصل بطاقتي؟ \u202eYad\u202c"), ()),
        "nothing": (b"", ()),
    }
    allowed = {"RESOURCE_EXHAUSTED", "INVALID_ARGUMENT", "OUT_OF_RANGE"}
    fine = {"10,000 unknown fields", "right to left", "groups within groups"}
    found = {}
    async with grpc.aio.insecure_channel(gateway.target) as channel:
        for name, (body, metadata) in cases.items():
            code, details = await _called(channel, body, metadata)
            found[name] = code
            good = allowed | ({"OK"} if name in fine else set())
            verdict.check(code in good, f"{name} ended by {code}: {details}")
            verdict.check(not any(word in details for word in INNER), f"{name}: callers are told {details!r}")
    return found


def _question(text: str) -> bytes:
    return pb.AnswerRequest(question=text).SerializeToString()


async def _called(
    channel: grpc.aio.Channel, body: bytes, metadata: tuple[tuple[str, str], ...] = (), method: str = ANSWER
) -> tuple[str, str]:
    """gRPC's code, and its words."""
    try:
        send: Any = channel.unary_unary(method)
        await send(body, metadata=metadata, timeout=10.0)
    except grpc.aio.AioRpcError as error:
        return error.code().name, error.details() or ""
    return "OK", ""


async def malformed(terms: Terms) -> Verdict:
    verdict = Verdict()
    chance = random.Random(terms.seed)  # noqa: S311 - a sample, no secret
    count = terms.of(300, 50_000)
    methods = [ANSWER, "/gateway.v1.Answers/AnswerBatch", "/gateway.v1.Knowledge/Search"]
    sound = [
        pb.AnswerRequest(question=TEXTS[0], collection="banking", request_id="r").SerializeToString(),
        pb.AnswerBatchRequest(items=[pb.AnswerRequest(question=one) for one in TEXTS[:3]]).SerializeToString(),
        pb.SearchRequest(query=TEXTS[0], limit=3).SerializeToString(),
    ]
    async with served(terms) as gateway:
        codes, told = Counter[str](), set[str]()
        async with grpc.aio.insecure_channel(gateway.target) as channel:
            for number in range(count):
                which = number % len(methods)
                code, details = await _called(channel, _mutated(sound[which], chance), method=methods[which])
                codes[code] += 1
                if code in FORBIDDEN or any(word in details for word in INNER):
                    told.add(f"{code}: {details}")
        verdict.saw(f"{count} messages: {dict(codes)}")
        verdict.faults += sorted(told)[:5]
        for number in range(terms.of(30, 2000)):
            await _garbage(gateway.port, chance, number)
        gateway.process.check()
        async with AsyncClient(gateway.target, timeout=10.0) as client:
            await client.answer(TEXTS[0])
        verdict.saw(f"{terms.of(30, 2000)} connections of garbage; it answers afterwards")
    return verdict


def _mutated(sound: bytes, chance: random.Random) -> bytes:
    """Bytes changed, taken away, doubled; or nothing but chance."""
    if chance.random() < 0.2:
        return chance.randbytes(chance.randint(0, 200))
    content = bytearray(sound)
    for _ in range(chance.randint(1, 8)):
        at = chance.randrange(len(content) or 1)
        match chance.randrange(3):
            case 0 if content:
                content[at] = chance.randrange(256)
            case 1:
                del content[at : at + chance.randint(1, 4)]
            case _:
                content[at:at] = content[at : at + 9]
    return bytes(content)


async def _garbage(port: int, chance: random.Random, number: int) -> None:
    """No HTTP/2, or frames of it that make no sense."""
    with contextlib.suppress(OSError):
        raw = await Raw.to(port, greets=bool(number % 2))
        if number % 3 == 0:
            await raw.send(chance.randbytes(500))
        else:
            kinds = [chance.randrange(12) for _ in range(10)]
            await raw.send(
                b"".join(frame(one, chance.randrange(256), chance.randrange(9), chance.randbytes(9)) for one in kinds)
            )
        await raw.over(0.02)
        await raw.close()


async def flooded(terms: Terms) -> Verdict:
    verdict = Verdict()
    count = terms.of(100, 2000)
    async with served(terms) as gateway:
        descriptors, memory = gateway.descriptors(), gateway.rss()

        async def work() -> None:
            idle = [await Raw.to(gateway.port) for _ in range(count)]
            each = (gateway.rss() - memory) / count
            verdict.saw(f"{count} idle connections: {each / 1000:.0f} kB of memory each")
            verdict.check(terms.is_short or each <= PER_SOCKET, f"an idle connection takes {each / 1000:.0f} kB")
            await _churned(gateway, terms.of(50, 5000))
            for one in idle:
                await one.close()

        await _beside(terms, verdict, gateway, work)
        await _given_back(verdict, gateway, descriptors)
    await _never_shaken(terms, verdict)
    return verdict


async def _churned(gateway: Served, count: int) -> None:
    """500 connections a second that come and go, half of them before they have said anything."""
    for number in range(count):
        with contextlib.suppress(OSError):
            raw = await Raw.to(gateway.port, greets=bool(number % 2))
            await raw.close()
        await asyncio.sleep(0.002)


async def _never_shaken(terms: Terms, verdict: Verdict) -> None:
    """Handshakes of TLS that are begun and never finished."""
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    files = {name: terms.folder / f"{name}.pem" for name in ("certificate", "key")}
    issued.cert_chain_pems[0].write_to_path(files["certificate"])
    issued.private_key_pem.write_to_path(files["key"])
    setting = {f"GATEWAY_TLS__{name.upper()}": str(file) for name, file in files.items()}
    async with served(terms, environment=setting) as gateway:
        descriptors = gateway.descriptors()
        hanging = [await Raw.to(gateway.port, greets=False) for _ in range(terms.of(20, 500))]
        for one in hanging:
            await one.send(b"\x16\x03\x01\x02\x00\x01")  # the beginning of a ClientHello
        began = time.monotonic()
        over = await asyncio.gather(*(one.over(20.0) for one in hanging))
        verdict.saw(
            f"{sum(over)} of {len(over)} unfinished handshakes were ended, after {time.monotonic() - began:.0f} s"
        )
        verdict.check(all(over), f"{len(over) - sum(over)} unfinished handshakes are kept open")
        for one in hanging:
            await one.close()
        await asyncio.sleep(QUIET / 4)
        await _given_back(verdict, gateway, descriptors)
