"""The locustfile, without Locust: against stand-ins for what it imports, and a real server."""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from gateway.rpc.server import Ports
from loadtest.ports import free_port


class User:
    host = ""
    environment: Any = None


@pytest.fixture
def locustfile(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Imported as Locust would. Locust and gevent patch a whole process: they stay out of the one that tests run in."""
    locust, gevent = ModuleType("locust"), ModuleType("grpc.experimental.gevent")
    calls: list[str] = []
    locust.__dict__.update(User=User, task=lambda function: function, constant_throughput=lambda rate: rate)
    gevent.__dict__.update(init_gevent=lambda: calls.append("init"))
    monkeypatch.setitem(sys.modules, "locust", locust)
    monkeypatch.setitem(sys.modules, "grpc.experimental.gevent", gevent)
    monkeypatch.setattr(importlib.import_module("grpc.experimental"), "gevent", gevent, raising=False)
    monkeypatch.delitem(sys.modules, "loadtest.locustfile", raising=False)
    made = importlib.import_module("loadtest.locustfile")
    assert calls == ["init"]
    yield made
    sys.modules.pop("loadtest.locustfile", None)


async def fired(locustfile: ModuleType, host: str) -> dict[str, Any]:
    """What Locust hears of one question."""
    events: list[dict[str, Any]] = []
    user = locustfile.GatewayUser()
    user.host = host
    user.environment = SimpleNamespace(
        events=SimpleNamespace(request=SimpleNamespace(fire=lambda **event: events.append(event)))
    )
    user.on_start()
    await asyncio.to_thread(user.ask)
    (event,) = events
    return event


async def test_an_answer_is_a_request_by_its_route(
    locustfile: ModuleType, ports: Ports, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locustfile, "TIMEOUT", 20.0)
    event = await fired(locustfile, f"127.0.0.1:{ports.grpc}")
    assert (event["name"], event["exception"]) == ("Answer: ROUTE_MODEL", None)
    assert event["response_time"] > 0
    assert event["response_length"] > 0


async def test_a_status_other_than_ok_is_a_failure(locustfile: ModuleType) -> None:
    event = await fired(locustfile, f"127.0.0.1:{free_port()}")
    assert event["name"] == "Answer"
    assert event["exception"] is not None
