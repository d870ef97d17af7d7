"""What several test files share: a real server on free ports in front of a fake gateway."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import click
import grpc.aio
import pytest

from gateway.config import Config, ServerSection
from gateway.rpc.server import Ports, Server
from gateway.telemetry.metrics import Metrics
from tests.fakes import FakeGateway

COMMANDS_RUN: set[click.Command] = set()
"""Of the command line, in this process: see test_zz_documented."""


@pytest.fixture(autouse=True, scope="session")
def _commands_are_noted() -> Iterator[None]:
    invoke = click.Command.invoke

    def noted(command: click.Command, context: click.Context) -> object:
        COMMANDS_RUN.add(command)
        return invoke(command, context)

    click.Command.invoke = noted  # type: ignore[assignment, method-assign]
    yield
    click.Command.invoke = invoke  # type: ignore[method-assign]


@pytest.fixture
def gateway() -> FakeGateway:
    return FakeGateway()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def config() -> Config:
    """Few permits and generous default time: a busy machine must not decide on a test."""
    return Config(server=ServerSection(port=0, admin_port=0, max_in_flight=4, default_timeout_ms=5000, drain_seconds=5))


@pytest.fixture
async def server(gateway: FakeGateway, config: Config, metrics: Metrics) -> AsyncIterator[Server]:
    server = Server(gateway, config, metrics)
    yield server
    await server.stop()


@pytest.fixture
async def ports(server: Server) -> Ports:
    return await server.start()


@pytest.fixture
async def channel(ports: Ports) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{ports.grpc}") as channel:
        yield channel
