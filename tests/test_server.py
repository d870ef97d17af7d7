"""The server's life: ports, health, reflection, the admin port, drain and stop."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import aiohttp
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from gateway.client import AsyncClient
from gateway.config import Config
from gateway.deadline import Deadline
from gateway.errors import ConfigInvalid
from gateway.rpc.accepting import SERVERS
from gateway.rpc.server import OPTIONS, Place, Ports, Server, serve
from gateway.telemetry.metrics import Metrics
from gateway.types import Answer, Degradation, Question
from tests.fakes import ANSWER, FakeGateway

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.mark.parametrize("service", ["", "gateway.v1.Answers", "gateway.v1.Knowledge"])
async def test_health_follows_the_drain(channel: grpc.aio.Channel, server: Server, service: str) -> None:
    """And whoever watches it does not hold the drain up."""
    stub: Any = health_pb2_grpc.HealthStub(channel)
    assert (await stub.Check(health_pb2.HealthCheckRequest(service=service))).status == SERVING
    watching = stub.Watch(health_pb2.HealthCheckRequest(service=service))
    assert (await watching.read()).status == SERVING
    await asyncio.wait_for(server.drain(), 4)  # of the 5 seconds that a drain may take
    assert (await watching.read()).status == NOT_SERVING
    with pytest.raises(grpc.aio.AioRpcError):
        await stub.Check(health_pb2.HealthCheckRequest(service=service))


async def test_reflection_lists_the_services_and_their_file(channel: grpc.aio.Channel) -> None:
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(cast("Any", channel))
    requests = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="gateway.v1.Answers"),
    ]
    listed, described = [response async for response in stub.ServerReflectionInfo(iter(requests))]
    names = {service.name for service in listed.list_services_response.service}
    assert {"gateway.v1.Answers", "gateway.v1.Knowledge", "grpc.health.v1.Health"} <= names
    assert described.file_descriptor_response.file_descriptor_proto


async def got(ports: Ports, path: str, accept: str = "*/*") -> tuple[int, str, str]:
    url = f"http://127.0.0.1:{ports.admin}{path}"
    async with aiohttp.ClientSession() as session, session.get(url, headers={"Accept": accept}) as response:
        return response.status, response.headers["Content-Type"], await response.text()


async def test_the_admin_port_tells_ready_from_live(ports: Ports, server: Server) -> None:
    assert (await got(ports, "/livez"))[0] == 200
    assert (await got(ports, "/readyz"))[0] == 200
    await server.drain()
    assert (await got(ports, "/livez"))[0] == 200
    assert (await got(ports, "/readyz"))[0] == 503


async def test_a_model_that_hangs_is_for_a_restart(ports: Ports, gateway: FakeGateway) -> None:
    gateway.stuck_seconds = 9.0
    assert (await got(ports, "/livez"))[0] == 200
    gateway.stuck_seconds = 11.0
    assert (await got(ports, "/livez"))[::2] == (503, "a pass of the model has not ended for 10 s: start it again\n")


async def test_a_degraded_replica_is_ready_and_says_so(
    ports: Ports, gateway: FakeGateway, channel: grpc.aio.Channel
) -> None:
    gateway.degraded = Degradation.DEVICE_LOST
    status, _, text = await got(ports, "/readyz")
    assert (status, text) == (200, "ready, degraded: device_lost\n")
    assert '"degraded": "device_lost"' in (await got(ports, "/status"))[2]
    assert 'gateway_degraded{reason="device_lost"} 1.0' in (await got(ports, "/metrics"))[2]
    stub: Any = health_pb2_grpc.HealthStub(channel)
    assert (await stub.Check(health_pb2.HealthCheckRequest())).status == SERVING


async def test_a_replica_that_cannot_answer_is_not_ready(
    ports: Ports, gateway: FakeGateway, channel: grpc.aio.Channel
) -> None:
    gateway.degraded, gateway.can_answer = Degradation.DEVICE_LOST, False
    assert (await got(ports, "/readyz"))[0] == 503
    stub: Any = health_pb2_grpc.HealthStub(channel)
    for can_answer, expected in ((False, NOT_SERVING), (True, SERVING)):
        gateway.can_answer = can_answer
        async with asyncio.timeout(30):
            while (await stub.Check(health_pb2.HealthCheckRequest())).status != expected:  # noqa: ASYNC110 - a server
                await asyncio.sleep(0.02)


async def test_status_says_what_is_served(ports: Ports) -> None:
    _, content_type, text = await got(ports, "/status")
    assert content_type.startswith("application/json")
    for part in (
        '"queued_seconds": 0.25',
        '"shed_level": 0.0',
        '"bundle": "banking/1"',
        '"certificate": "valid"',
        '"documents": 3',
        '"in_flight": 0',
    ):
        assert part in text


async def test_metrics_come_in_both_formats(ports: Ports) -> None:
    _, plain, text = await got(ports, "/metrics")
    assert plain.startswith("text/plain")
    assert 'gateway_knowledge_passages{collection="banking"} 9.0' in text
    assert 'gateway_certificate_status{status="valid"} 1.0' in text
    assert "gateway_queue_cost_seconds 0.25" in text
    _, openmetrics, text = await got(ports, "/metrics", "application/openmetrics-text; version=1.0.0")
    assert openmetrics.startswith("application/openmetrics-text")
    assert text.endswith("# EOF\n")


@pytest.mark.parametrize("key", ["port", "admin_port"])
async def test_a_taken_port_is_named(gateway: FakeGateway, config: Config, key: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        section = config.server.model_copy(update={key: port})
        server = Server(gateway, config.model_copy(update={"server": section}), Metrics())
        with pytest.raises(
            ConfigInvalid, match=rf"server\.{key} = {port}: cannot listen on 127\.0\.0\.1:{port} \(.*in use"
        ):
            await server.start()
        await server.stop()


async def test_two_servers_cannot_share_a_port(ports: Ports, gateway: FakeGateway, config: Config) -> None:
    section = config.server.model_copy(update={"port": ports.grpc})
    second = Server(gateway, config.model_copy(update={"server": section}), Metrics())
    with pytest.raises(ConfigInvalid, match=r"server\.port"):
        await second.start()
    await second.stop()


async def test_sigterm_drains_and_ends(gateway: FakeGateway, config: Config, metrics: Metrics) -> None:
    def terminate(_: Ports) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    await asyncio.wait_for(serve(gateway, config, metrics, terminate), 10)


# As one of several on a port.


@pytest.fixture
def places() -> Iterator[list[Place]]:
    """Of two workers. Made with a short name: a socket's path may not be longer than 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="gw-") as folder:
        yield [Place(Path(folder) / f"{number}.sock", asyncio.Event()) for number in range(2)]


async def asked(place: Place, path: str) -> int:
    connector = aiohttp.UnixConnector(str(place.admin_socket))
    async with aiohttp.ClientSession(connector=connector) as session, session.get(f"http://worker{path}") as response:
        return response.status


async def test_workers_share_a_port_and_have_sockets_of_their_own(config: Config, places: list[Place]) -> None:
    first, second = FakeGateway(), FakeGateway()
    one = Server(first, config, Metrics(), place=places[0])
    ports = await one.start()
    assert ports.admin == 0
    other = Server(second, on_port(config, ports.grpc), Metrics(), place=places[1])
    assert await other.start() == ports
    for place in places:
        assert await asked(place, "/readyz") == 200
    # Somebody who does not belong to them finds the port taken.
    stranger = Server(FakeGateway(), on_port(config, ports.grpc), Metrics())
    with pytest.raises(ConfigInvalid, match=r"server\.port"):
        await stranger.start()
    for server in (one, other, stranger):
        await server.stop()


def on_port(config: Config, port: int) -> Config:
    return config.model_copy(update={"server": config.server.model_copy(update={"port": port})})


async def test_a_worker_drains_however_often_it_is_told_to(config: Config, places: list[Place]) -> None:
    """Who stops a service signals all of its processes, and its supervisor signals the workers once more."""
    begun, gate = asyncio.Event(), asyncio.Event()

    async def answer(question: Question, deadline: Deadline) -> Answer:
        begun.set()
        await gate.wait()
        return ANSWER

    started: asyncio.Queue[Ports] = asyncio.Queue()
    serving = asyncio.create_task(serve(FakeGateway(answer), config, Metrics(), started.put_nowait, None, places[0]))
    async with AsyncClient(f"127.0.0.1:{(await started.get()).grpc}", timeout=60) as client:
        answering = asyncio.create_task(client.answer("why?"))
        await begun.wait()
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.sleep(0.05)
        gate.set()
        assert (await answering).text == ANSWER.text
    await asyncio.wait_for(serving, 60)


@pytest.mark.parametrize("is_draining", [False, True])
async def test_an_abandoned_worker_ends_at_once(config: Config, places: list[Place], is_draining: bool) -> None:
    slow = config.model_copy(update={"server": config.server.model_copy(update={"drain_delay_seconds": 300.0})})
    started: asyncio.Queue[Ports] = asyncio.Queue()
    serving = asyncio.create_task(serve(FakeGateway(), slow, Metrics(), started.put_nowait, None, places[0]))
    await started.get()
    if is_draining:
        os.kill(os.getpid(), signal.SIGTERM)
        while await asked(places[0], "/readyz") == 200:
            pass
    places[0].abandoned.set()
    await asyncio.wait_for(serving, 60)


def test_nothing_is_unbounded() -> None:
    assert all(number >= 0 for _, number in OPTIONS)


async def test_calls_are_accepted_at_several_places_of_one_port(ports: Ports) -> None:
    """One at a time for each of gRPC's servers: a single one cannot even refuse an overload."""
    assert listeners(ports.grpc) == SERVERS > 1


def listeners(port: int) -> int:
    """Sockets that listen on `port`."""
    sockets = [
        line.split() for file in ("tcp", "tcp6") for line in Path("/proc/net", file).read_text().splitlines()[1:]
    ]
    return sum(one[1].endswith(f":{port:04X}") and one[3] == "0A" for one in sockets)
