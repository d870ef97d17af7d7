"""What every call of the clients has: options, who asks, a deadline."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc

from gateway.client.failures import TooLate
from gateway.convert import timeout_claim
from gateway.types import Criticality, Principal

SERVICE_CONFIG = json.dumps(
    {
        "methodConfig": [
            {
                "name": [{"service": "gateway.v1.Answers"}, {"service": "gateway.v1.Knowledge"}],
                "retryPolicy": {
                    "maxAttempts": 3,
                    "initialBackoff": "0.05s",
                    "maxBackoff": "1s",
                    "backoffMultiplier": 2,
                    # CANCELLED: what a server that just stops had not handed to anybody yet (grpcio 1.80).
                    "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED", "CANCELLED"],
                },
            }
        ],
        # A server in trouble is not asked thrice by everyone: after 10 failures in a row retries pause.
        "retryThrottling": {"maxTokens": 10, "tokenRatio": 0.1},
    }
)
OPTIONS = (
    ("grpc.service_config", SERVICE_CONFIG),
    ("grpc.enable_retries", 1),
    ("grpc.keepalive_time_ms", 30_000),
    # A connection to a worker that is just dying is reset, and gRPC waits a second before the next: more than all tries
    # of a call. Of 450 calls around such a moment 317 failed by the default, 22 by this. Its most, two minutes, is
    # how long a server that is back would not be noticed.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2000),
    ("grpc.lb_policy_name", "round_robin"),
)

LOST = 1.0
"""Seconds after its deadline, at which a call that has not ended is given up."""
Response = TypeVar("Response")


class Connected:
    """Holds a channel until it is closed."""

    _channel: grpc.Channel

    def close(self) -> None:
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def metadata_of(
    principal: Principal | None, criticality: Criticality | None, api_key: str = ""
) -> Sequence[tuple[str, str]]:
    """What is not named is not said: then it is what the credentials say, or the default."""
    tenant = [("x-tenant", principal.tenant)] if principal and principal.tenant else []
    groups = [("x-groups", ",".join(sorted(principal.groups)))] if principal and principal.groups else []
    matters = [("x-criticality", criticality.value)] if criticality else []
    shown = [("authorization", f"Bearer {api_key}")] if api_key else []
    return (*tenant, *groups, *matters, *shown)


def within(seconds: float, metadata: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """A call's deadline, and its metadata with how long that was from the start."""
    return {"timeout": checked(seconds), "metadata": (*metadata, timeout_claim(seconds))}


def checked(timeout: float) -> float:
    """Raise TooLate where no time is left: grpc takes 0 for "no deadline", and the call could then wait for ever."""
    if timeout <= 0:
        raise TooLate("DEADLINE_EXCEEDED", "no time was left to ask", "DEADLINE_EXCEEDED")
    return timeout


async def ended(call: Awaitable[Response | None], seconds: float) -> Response:
    """What a call of grpc.aio comes to that has so many seconds. It sometimes ends at its very deadline as OK with
    None; and where gRPC tries it again while its server leaves, it may never end, deadline or not (grpcio 1.80)."""
    try:
        async with asyncio.timeout(seconds + LOST):
            response = await call
    except TimeoutError:
        response = None
    if response is None:
        raise TooLate("DEADLINE_EXCEEDED", "the deadline passed before the answer was there", "DEADLINE_EXCEEDED")
    return response
