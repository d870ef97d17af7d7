"""Streams without asyncio, which go on in another one where a server ends them: it stops, or they are old."""

from __future__ import annotations

import contextlib
import queue
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import grpc

from gateway.client.client import BACKOFF, QUIET
from gateway.client.failures import failed, failure

Request = TypeVar("Request")
Outcome = TypeVar("Outcome")

ON_THE_WAY = 4
"""Requests that a server may have before it has answered the first: it writes one while the next one comes in."""


def sent(
    call: Callable[[Iterator[Request]], Any], requests: Iterable[Request], outcome: Callable[[Any], Outcome]
) -> Iterator[Outcome]:
    """What comes of each request, in their order. `call` opens a stream that answers them so. They are taken in the
    caller's own thread. Raises CallFailed where the stream ends early, and whatever `requests` raises, once what came
    before it is answered."""
    source, unanswered = iter(requests), deque[Request]()
    waits, is_at_end = _Waits(), False
    broken: Exception | None = None
    while True:
        asked: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        stream = call(iter(asked.get, None))
        for request in unanswered:
            asked.put(request)
        try:
            while True:
                while not is_at_end and len(unanswered) < ON_THE_WAY:
                    try:
                        following = next(source, None)
                    except Exception as error:  # noqa: BLE001  # whatever it is, it is the caller's, and raised below
                        following, broken = None, error
                    is_at_end = following is None
                    if following is not None:
                        unanswered.append(following)
                        asked.put(following)
                if not unanswered:
                    asked.put(None)
                    with contextlib.suppress(grpc.RpcError):  # everything is answered, however it ends
                        next(stream, None)
                    if broken is not None:
                        raise broken
                    return
                answer = next(stream, None)
                if answer is None:
                    raise failed("UNKNOWN", "the stream ended before all was answered")
                waits.reset()
                unanswered.popleft()
                yield outcome(answer)
        except grpc.RpcError as error:
            waits.wait(error)
        finally:
            asked.put(None)  # or gRPC's thread would wait for it for ever
            stream.cancel()


def fed(call: Callable[[int], Any], after: int) -> Iterator[Any]:
    """Messages with a `version`, of a stream that `call` opens after one. Raises CallFailed where it ends early."""
    waits = _Waits()
    while True:
        stream = call(after)
        try:
            for message in stream:
                waits.reset()
                after = message.version
                yield message
            return
        except grpc.RpcError as error:
            waits.wait(error)
        finally:
            stream.cancel()


class _Waits:
    """Until another stream is opened: longer each time, from the beginning where one was of use."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._waits = iter(BACKOFF)
        self._since = time.monotonic()

    def wait(self, error: grpc.RpcError) -> None:
        """Raises CallFailed unless the server was only done with that stream, or has been so too often."""
        if time.monotonic() - self._since > QUIET:
            self.reset()
        ended = failure(error)
        seconds = next(self._waits, None) if ended.reason == "DRAINING" else None
        if seconds is None:
            raise ended from None
        time.sleep(seconds)
        self._since = time.monotonic()
