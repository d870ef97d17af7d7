"""What it costs a call to be let in, counted and written down: one question with more and more of that, in turn."""

from __future__ import annotations

import asyncio
import gc
import json
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import jwt
import uvloop
from cryptography.hazmat.primitives.asymmetric import ec
from google.protobuf.message import Message
from jwt.algorithms import ECAlgorithm
from prometheus_client import CollectorRegistry

from gateway.access.authority import Authority
from gateway.access.grants import Scope
from gateway.access.jwks import FileSource
from gateway.access.keys import Entry, callers_in, changing, digest_of, new_key, now
from gateway.access.tokens import TokenRules, Tokens
from gateway.access.watched import Watched
from gateway.audit.log import AuditLog, Terms
from gateway.audit.marks import Marker
from gateway.config import LogSection
from gateway.convert import answer_to_proto
from gateway.deadline import Deadline
from gateway.rpc.admission import Admission
from gateway.rpc.admission import Terms as AdmissionTerms
from gateway.rpc.callers import Callers
from gateway.rpc.handler import Door, Limits, in_time, unary_handler
from gateway.rpc.observing import Observer
from gateway.rpc.quota import Rate
from gateway.rpc.servicers import ANSWERS, Answers
from gateway.rpc.validate import Rules, question_of
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.traces import TraceMetrics, Tracing
from gateway.types import Forecast, Policy, Principal
from gateway.v1 import gateway_pb2 as pb
from loadtest.audit_cost import ATTEMPTS, SHARE, TEXT, Instant

TENANT = "acme"
ISSUER, AUDIENCE, KID = "https://id.example", "gateway", "one"
OTHERS = 1000
"""Callers in the file besides."""
TRACED = 0.01
"""Of the calls. What becomes of them is another thread's, whose time is not in these figures."""
STEPS: Mapping[str, str] = {
    "bare": "the answer, converted, by its deadline, and nothing else",
    "handled": "and metrics and admission",
    "limited": "and a quota of the tenant",
    "key": "and an API key",
    "token": "or a token instead, which is known",
    "whole": "an API key and an audit log",
    "traced": "and one call in a hundred traced",
}
"""Name -> what there is."""

Ask = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Costs:
    """Microseconds a call of the thread that answers, by step: the least of the blocks, as whatever else runs on the
    machine only adds to them."""

    steps: Mapping[str, float]

    @property
    def added(self) -> float:
        """By all of it together."""
        return self.steps["whole"] - self.steps["bare"]

    @property
    def tracing(self) -> float:
        """What one call in a hundred being traced adds to each, as a share of all of it."""
        return self.steps["traced"] / self.steps["whole"] - 1


class Context:
    """What gRPC hands over beside the request, of a call that has 200 ms."""

    def __init__(self, credentials: str) -> None:
        shown = (("authorization", f"Bearer {credentials}"),) if credentials else ()
        claims = (("x-criticality", "critical"), ("x-timeout-ms", "200"), ("user-agent", "grpc-python-asyncio/1.80.1"))
        self._metadata = (*claims, *shown)

    def invocation_metadata(self) -> Sequence[tuple[str, str]]:
        return self._metadata

    def time_remaining(self) -> float:
        return 0.1997

    def set_trailing_metadata(self, metadata: object) -> None:
        pass

    async def abort(self, code: object, details: str, trailers: object) -> None:
        raise RuntimeError(f"refused: {details}")


def measure(calls: int, blocks: int) -> Costs:
    """So many `calls` in each of so many `blocks` of each step."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        log = AuditLog(folder / "audit", 0, Marker(bytes(32), SHARE), Terms(waiting=calls))
        stack.callback(log.close)
        tracing = Tracing(TraceMetrics(CollectorRegistry()), lambda _: True, TRACED)
        stack.callback(tracing.close)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # as a server runs
            return Costs(runner.run(_measured(_steps(folder, log, tracing), log, calls, blocks)))


async def _measured(ways: Mapping[str, Ask], log: AuditLog, calls: int, blocks: int) -> dict[str, float]:
    found: dict[str, list[float]] = {name: [] for name in ways}
    for ask in ways.values():
        await _block(ask, log, calls)
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        for _ in range(blocks):
            for name, ask in ways.items():
                found[name].append(await _block(ask, log, calls))
    finally:
        gc.enable()
        gc.unfreeze()
    return {name: min(some) for name, some in found.items()}


async def _block(ask: Ask, log: AuditLog, calls: int) -> float:
    """Microseconds a call, of this thread alone."""
    began = time.thread_time()
    for _ in range(calls):
        await ask()
        await asyncio.sleep(0)  # as between two calls: what a timer leaves behind is cleared away by the loop
    took = time.thread_time() - began
    for _ in range(ATTEMPTS):
        if not log.figures().waiting:
            return 1e6 * took / calls
        await asyncio.sleep(0.05)
    raise RuntimeError("the log was not written in time")


def _steps(folder: Path, log: AuditLog, tracing: Tracing | None = None) -> dict[str, Ask]:
    authority, key, token = _authority(folder)
    rate = Rate(1e6, 1e6)
    return {
        "bare": _bare(),
        "handled": _handled(None, ""),
        "limited": _handled(None, "", rate),
        "key": _handled(authority, key, rate),
        "token": _handled(authority, token, rate),
        "whole": _handled(authority, key, rate, log),
        "traced": _handled(authority, key, rate, log, tracing),
    }


def _bare() -> Ask:
    gateway, rules, principal = Instant(), _rules(), Principal(TENANT)
    request = pb.AnswerRequest(question=TEXT, request_id="r-1")

    async def answered(deadline: Deadline) -> Message:
        question = question_of(request, principal, rules)
        return answer_to_proto(await gateway.answer(question, deadline), request.request_id)

    async def ask() -> object:
        deadline = Deadline.after(Context("").time_remaining())
        return await in_time(answered(deadline), deadline)

    return ask


def _handled(
    authority: Authority | None,
    shown: str,
    rate: Rate | None = None,
    log: AuditLog | None = None,
    tracing: Tracing | None = None,
) -> Ask:
    """Answers.Answer as gRPC calls it."""
    metrics = Metrics()
    gateway: Any = Instant()
    admission = Admission(AdmissionTerms(1024, rate=rate), lambda *_: Forecast(0.0, 0.0, 0.002, 0.002))
    observer = Observer(tracing or Tracing(metrics.traces), LogSection())
    door = Door(metrics, Callers(authority, metrics.access), admission, Limits(0.2, 10.0), observer)
    methods = Answers(gateway, _rules(), admission, metrics, audit=log).methods()
    (answer,) = (one for one in methods if (one.service, one.name) == (ANSWERS, "Answer"))
    handle = cast("Any", unary_handler(answer, door)).unary_unary
    request, context = pb.AnswerRequest(question=TEXT, request_id="r-1"), Context(shown)
    return lambda: cast("Awaitable[object]", handle(request, context))


def _rules() -> Rules:
    return Rules(("banking",), "banking", Policy.CASCADE, 2000)


def _authority(folder: Path) -> tuple[Authority, str, str]:
    """With a key and a token that it knows."""
    keys, jwks = folder / "callers.json", folder / "jwks.json"
    key = new_key("one")
    with changing(keys) as entries:
        shown = [key, *(new_key(f"other-{number}") for number in range(OTHERS))]
        entries += [
            Entry(
                id=f"caller-{number}",
                name="loadtest",
                sha256=digest_of(one).hex(),
                scopes=frozenset({Scope.ASK}),
                tenants=(TENANT,),
                created=now(),
            )
            for number, one in enumerate(shown)
        ]
    private = ec.generate_private_key(ec.SECP256R1())
    public = ECAlgorithm.to_jwk(private.public_key(), as_dict=True) | {"kid": KID}
    jwks.write_text(json.dumps({"keys": [public]}))
    claims = {"iss": ISSUER, "aud": AUDIENCE, "exp": time.time() + 3600, "tenant": TENANT, "scope": "ask"}
    rules = TokenRules(ISSUER, AUDIENCE, frozenset({"ES256"}))
    source = FileSource(jwks, lambda _: None, lambda _: None)
    watched = Watched("file of callers", [keys], lambda: callers_in(keys))
    return Authority(watched, Tokens(rules, source)), key, jwt.encode(claims, private, "ES256", {"kid": KID})
