"""Which calls are traced, by W3C Trace Context, and a bounded queue from there to the thread that sends them."""

from __future__ import annotations

import contextlib
import logging
import queue
import random
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter

log = logging.getLogger(__name__)

TRACEPARENT = "traceparent"
SAMPLED = 1
BATCH = 512
"""Calls that are sent together, at most."""
LINGER = 1.0
"""Seconds that the first of them waits for others."""
LAST = 3.0
"""Seconds for sending what is left when the process ends."""

_FORM = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


class Trace(NamedTuple):
    """Where a call stands in a trace. `span_id` is its own where it `is_sampled`, else its caller's; `parent_id` is the
    caller's, empty where the trace begins here. Ids are of lower hex digits: 32 of a trace, 16 of a span."""

    trace_id: str
    span_id: str
    parent_id: str
    is_sampled: bool

    @property
    def header(self) -> str:
        """As `traceparent`."""
        return f"00-{self.trace_id}-{self.span_id}-{int(self.is_sampled):02x}"


@dataclass(frozen=True, slots=True)
class Ended:
    """A call that is over. `method` is service/name, `code` gRPC's name of it, `ended` in nanoseconds since 1970.
    `stages` are names and seconds, in the order in which they finished."""

    trace: Trace
    method: str
    code: str
    ended: int
    seconds: float
    attributes: Mapping[str, str]
    stages: Sequence[tuple[str, float]] = ()


class TraceMetrics:
    """Made once a process. From any thread."""

    def __init__(self, registry: CollectorRegistry) -> None:
        calls = Counter(
            "gateway_traced_calls_total",
            "Sampled calls: sent to the collector, dropped as too many waited, or failed as it took none.",
            ("outcome",),
            registry=registry,
        )
        self.sent, self.dropped, self.failed = (calls.labels(name) for name in ("sent", "dropped", "failed"))


def parsed(header: str) -> Trace | None:
    """Of a caller's `traceparent`; None for what is none."""
    found = _FORM.fullmatch(header)
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == "00" and more:
        return None
    return Trace(trace_id, span_id, "", bool(int(flags, 16) & SAMPLED))


class Tracing:
    """Decides and queues on the event loop, for a microsecond; all else is a thread's.

    `send` takes calls to the collector, False where they did not arrive; None: nothing is sampled, and callers' traces
    are only passed on. `draw`: from 0 up to 1.
    """

    def __init__(
        self,
        metrics: TraceMetrics,
        send: Callable[[Sequence[Ended]], bool] | None = None,
        share: float = 0.0,
        waiting: int = 2048,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._metrics = metrics
        self._send = send
        self.share = share
        """What is sampled of the calls whose callers have not decided it, where spans are sent at all."""
        self._draw = draw
        self._waiting: queue.Queue[Ended] = queue.Queue(waiting)
        self._closing = threading.Event()
        # A daemon: a collector that does not answer keeps no process from ending.
        self._thread = threading.Thread(target=self._run, name="traces", daemon=True)
        if send:
            self._thread.start()

    def begin(self, header: str) -> Trace | None:
        """The place of a call whose caller has sent `header`, which is empty for none. None: it is in no trace."""
        if header and (given := parsed(header)):
            if not given.is_sampled:
                return given
            if self._send is None:  # told on as it came: a span that nobody makes is nobody's parent
                return given
            return Trace(given.trace_id, _random_id(64), given.span_id, is_sampled=True)
        if self.share and self._send and self._draw() < self.share:
            return Trace(_random_id(128), _random_id(64), "", is_sampled=True)
        return None

    def wants(self, trace: Trace | None) -> bool:
        """Whether `offer` is to be called when it ends."""
        return trace is not None and trace.is_sampled and self._send is not None

    def offer(self, call: Ended) -> None:
        try:
            self._waiting.put_nowait(call)
        except queue.Full:
            self._metrics.dropped.inc()

    def close(self) -> None:
        """Send what waits, for LAST seconds at most."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(LAST)

    def _run(self) -> None:
        while not (self._closing.is_set() and self._waiting.empty()):
            with contextlib.suppress(queue.Empty):
                batch = [self._waiting.get(timeout=LINGER / 4)]
                self._closing.wait(LINGER)
                while len(batch) < BATCH and not self._waiting.empty():
                    batch.append(self._waiting.get_nowait())
                self._sent(batch)

    def _sent(self, batch: Sequence[Ended]) -> None:
        assert self._send is not None
        try:
            has_arrived = self._send(batch)
        except Exception:
            log.exception("%d traced calls could not be sent", len(batch))
            has_arrived = False
        (self._metrics.sent if has_arrived else self._metrics.failed).inc(len(batch))


def _random_id(bits: int) -> str:
    """Not 0, which stands for none. Trace ids are no secret."""
    return f"{random.getrandbits(bits) or 1:0{bits // 4}x}"
