"""Settings that are read again while it serves: used as a whole, or not at all."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from click.testing import CliRunner, Result

from gateway.cli.main import cli
from gateway.config import AdmissionSection, Config, LogSection, ServerSection, load
from gateway.errors import ConfigInvalid
from gateway.rpc.admission import Admission, Terms
from gateway.rpc.quota import Rate
from gateway.rpc.server import Ports, Server, serve
from gateway.rpc.settings import CHANGEABLE, Settings, changed, values_of
from gateway.telemetry.metrics import Metrics
from gateway.types import Forecast
from gateway.v1 import gateway_pb2 as pb
from gateway.v1 import gateway_pb2_grpc
from tests.fakes import FakeGateway

REQUEST = pb.AnswerRequest(question="Where is my card?")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "gateway.toml"


@pytest.fixture
async def server(gateway: FakeGateway, config: Config, metrics: Metrics, file: Path) -> object:
    """Its settings are in the file, beyond those that a test has."""
    flags = {f"server.{key}": getattr(config.server, key) for key in ServerSection.model_fields}

    def read() -> Config:
        return load(file if file.exists() else None, {}, flags)

    made = Server(gateway, read(), metrics, read=read)
    yield made
    await made.stop()


async def reload(ports: Ports, file: Path, content: str) -> Result:
    """By the command, once that is in the file."""
    await asyncio.to_thread(file.write_text, content)
    return await asyncio.to_thread(CliRunner().invoke, cli, ["reload", "--admin", f"127.0.0.1:{ports.admin}"])


def reloaded(metrics: Metrics, outcome: str) -> float:
    labels = {"what": "settings", "outcome": outcome}
    return metrics.registry.get_sample_value("gateway_reloads_total", labels) or 0.0


async def test_a_quota_holds_from_the_next_call_on(
    ports: Ports, channel: grpc.aio.Channel, file: Path, metrics: Metrics
) -> None:
    answers = gateway_pb2_grpc.AnswersStub(channel)
    found = await reload(ports, file, "[admission]\ntenant_rate = 0.001\ntenant_burst = 1\n")
    assert found.output == "used from now on: admission.tenant_rate, admission.tenant_burst\n"
    assert (await answers.Answer(REQUEST)).text
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await answers.Answer(REQUEST)
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert (await reload(ports, file, "")).exit_code == 0
    assert (await answers.Answer(REQUEST)).text
    assert (reloaded(metrics, "accepted"), reloaded(metrics, "rejected")) == (2, 0)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[admission]\ntenant_rate = -1\n", "admission.tenant_rate = -1 (from"),
        ("[admission]\ntenant_rat = 1\n", "did you mean tenant_rate?"),
        ("[admission\n", "is not TOML"),
        ("[admission]\ntenant_rate = 5\n[model]\nmax_batch = 3\n", "model."),
        ("[admission]\ntenant_rate = 5\n[knowledge]\nprobe_every = 7\n", "knowledge.probe_every: needs a restart"),
    ],
)
async def test_what_is_wrong_changes_nothing(
    ports: Ports, channel: grpc.aio.Channel, file: Path, metrics: Metrics, content: str, words: str
) -> None:
    found = await reload(ports, file, content)
    assert found.exit_code == 4
    assert words in found.output
    for _ in range(20):
        assert (await gateway_pb2_grpc.AnswersStub(channel).Answer(REQUEST)).text
    assert (reloaded(metrics, "accepted"), reloaded(metrics, "rejected")) == (0, 1)


async def test_sighup_reads_them_again(
    gateway: FakeGateway, config: Config, metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    now = [config]
    started: asyncio.Future[Ports] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve(gateway, config, metrics, started.set_result, read=lambda: now[0]))
    await started
    now[0] = config.model_copy(update={"log": LogSection(slow_ms=7)})
    os.kill(os.getpid(), signal.SIGHUP)
    async with asyncio.timeout(10):
        while "log.slow_ms" not in caplog.text:  # noqa: ASYNC110  # a signal
            await asyncio.sleep(0.01)
    os.kill(os.getpid(), signal.SIGTERM)
    await serving
    assert reloaded(metrics, "accepted") == 1


def test_every_key_that_may_change_is_one() -> None:
    for section, keys in CHANGEABLE.items():
        assert keys <= type(getattr(Config(), section)).model_fields.keys()
    assert changed(Config(), Config()) == []


def test_a_worker_takes_what_its_supervisor_has_read() -> None:
    used: list[Config] = []
    worker = Settings(Config(server=ServerSection(port=7)), Config, used.append)
    fresh = Config(
        server=ServerSection(port=8, max_in_flight=9), admission=AdmissionSection(tenant_rates={"acme": 2.5})
    )
    values = json.loads(json.dumps(values_of(fresh)))
    assert worker.take(values) == ["server.max_in_flight", "admission.tenant_rates"]
    assert used[0].server.port == 7
    assert used[0].admission.tenant_rates == {"acme": 2.5}
    wrongs: tuple[Any, ...] = (
        {"server": {"max_in_flight": -1}},
        {"server": 3},
        {"nothing": {}},
        {"server": {"port": 9}},
        [],
    )
    for wrong in wrongs:
        with pytest.raises(ConfigInvalid):
            worker.take(wrong)
    assert len(used) == 1


def test_what_a_tenant_has_used_stays_used_where_its_quota_is_the_same() -> None:
    admission = Admission(Terms(permits=4, rate=Rate(0.001, 2)), lambda *_: Forecast(0, 0, 0, 0), lambda: 0.0)
    admission.charge("acme", 2)
    admission.renew(Terms(permits=2, rate=Rate(0.001, 2)))
    assert admission.limit == 2
    with pytest.raises(Exception, match="acme"):
        admission.charge("acme", 1)
    admission.renew(Terms(permits=2, rate=Rate(0.001, 3)))
    admission.charge("acme", 1)
