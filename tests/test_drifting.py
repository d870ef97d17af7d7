"""From questions that change to a certificate that is stale, in a gateway that serves; and an operator's way back."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from click.testing import CliRunner

from gateway import assembly, drifting
from gateway.cli.drift import drift
from gateway.config import Config, DriftMode, DriftSection, KnowledgeSection, ModelSection, ServerSection
from gateway.deadline import Deadline
from gateway.errors import BundleInvalid, Unavailable
from gateway.forge import references
from gateway.forge.knowledge import Knowledge
from gateway.model import bundle as bundles
from gateway.rpc.server import Place, Ports, Server
from gateway.swapping import Swapping
from gateway.telemetry.drift.window import BATCH
from gateway.telemetry.metrics import Metrics
from gateway.types import (
    Answer,
    CertificateStatus,
    DriftAlarm,
    DriftMonitor,
    DriftScope,
    Policy,
    Principal,
    Question,
)
from tests import tiny
from tests.test_drift_reference import data

STALE, VALID = CertificateStatus.STALE, CertificateStatus.VALID


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with references; red only stands for a document."""
    folder = tiny.write(tmp_path_factory.mktemp("bundles") / "tiny")
    references.write(folder, data(), Knowledge((), (), {}))
    return folder


def settings(bundle: Path, **changes: object) -> Config:
    return Config(
        server=ServerSection(port=0, admin_port=0, default_timeout_ms=60_000, max_timeout_ms=60_000),
        model=ModelSection(bundle=bundle),
        knowledge=KnowledgeSection(collections={}),
        drift=DriftSection(**changes),  # type: ignore[arg-type]
    )


@pytest.fixture
async def gateway(watched: Path) -> AsyncIterator[Swapping]:
    made = await assembly.build(settings(watched))
    yield made
    await made.close()


@pytest.fixture
async def ports(gateway: Swapping, watched: Path) -> AsyncIterator[Ports]:
    server = Server(gateway, settings(watched), Metrics(), gateway)
    yield await server.start()
    await server.stop()


async def ask(gateway: Swapping, text: str, tenant: str = "default") -> Answer:
    question = Question(text, "", Principal(tenant), Policy.MODEL_ONLY)
    return await gateway.answer(question, Deadline.after(60))


async def repeat(gateway: Swapping, count: int, tenant: str = "default") -> None:
    """The same question again and again, until it was looked at."""
    for _ in range(count):
        await ask(gateway, "word7 word8", tenant)
    drift = gateway.describe().drift
    assert drift
    while drift.questions < count // BATCH * BATCH:
        await asyncio.sleep(0.01)
        drift = gateway.describe().drift
        assert drift


async def test_the_same_question_over_and_over_makes_the_certificate_stale(gateway: Swapping) -> None:
    assert (await ask(gateway, "word1")).certificate is VALID
    await repeat(gateway, 10 * BATCH)
    now = gateway.describe()
    assert (now.certificate, (await ask(gateway, "word1")).certificate) == (STALE, STALE)
    assert "drift: " in now.certificate_reason
    assert now.drift
    assert {alarm.scope for alarm in now.drift.alarms} == {DriftScope.ALL}
    now = await gateway.reset_drift()
    assert (now.certificate, now.certificate_reason, (await ask(gateway, "word1")).certificate) == (VALID, "", VALID)


async def test_neither_a_start_nor_a_swap_takes_it_back_but_an_operator_does(watched: Path, tmp_path: Path) -> None:
    config = settings(watched, marks=tmp_path / "stale.json")
    gateway = await assembly.build(config)
    await repeat(gateway, 10 * BATCH)
    await gateway.close()
    gateway = await assembly.build(config)
    try:
        now = gateway.describe()
        assert (now.certificate, (await ask(gateway, "word1")).certificate) == (STALE, STALE)
        assert "drift: " in now.certificate_reason
        assert "since" in now.certificate_reason
        assert (await gateway.swap(watched)).certificate is STALE
        assert (await gateway.reset_drift()).certificate is VALID
        assert (await gateway.swap(watched)).certificate is VALID
    finally:
        await gateway.close()


async def test_the_command_tells_and_resets(gateway: Swapping, ports: Ports) -> None:
    await repeat(gateway, 10 * BATCH)

    async def run(*arguments: str) -> str:
        called = [*arguments, "--admin", f"127.0.0.1:{ports.admin}"]
        result = await asyncio.to_thread(CliRunner().invoke, drift, called)
        assert result.exit_code == 0, result.output
        return result.output

    said = await run("status")
    assert "tiny/1: the certificate is stale" in said
    assert "  because   drift: " in said
    assert "ALARM     embedding of all questions, after" in said
    assert "distance_stability" in said
    assert json.loads(await run("status", "--json"))["drift"]["reference"] == 40
    assert await run("reset") == "tiny/1: the certificate is valid; questions are compared anew\n"
    assert "0 questions compared with 40" in await run("status")


async def test_what_is_stale_for_a_tenant_alone_is_told(gateway: Swapping, ports: Ports) -> None:
    """Also after a start, when no alarm is there that tells it."""
    alarm = DriftAlarm(DriftMonitor.DISTANCE, DriftScope.TENANT, "acme", 64, 0.0)
    await gateway.hear_drift([alarm], gateway.describe().manifest_sha256)
    now = gateway.describe()
    assert (now.certificate, list(now.stale_parts)) == (VALID, ["tenant acme"])
    called = ["status", "--admin", f"127.0.0.1:{ports.admin}"]
    said = (await asyncio.to_thread(CliRunner().invoke, drift, called)).output
    assert "  stale     for tenant acme: drift: how near questions are" in said


async def test_metrics_tell_and_name_no_tenant(gateway: Swapping, ports: Ports) -> None:
    await repeat(gateway, 10 * BATCH, "acme")
    async with aiohttp.ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{ports.admin}/metrics") as response:
            text = await response.text()
        async with session.post(f"http://127.0.0.1:{ports.admin}/drift", json={}) as response:
            assert response.status == 400
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if line.startswith("gateway_drift"))
    assert lines["gateway_drift_watched"] == "1.0"
    assert lines["gateway_drift_questions_total"] == f"{10 * BATCH}.0"
    assert float(lines['gateway_drift_evidence{monitor="labels"}']) < 0
    assert lines['gateway_drift_alarms{monitor="embedding",scope="all"}'] == "1.0"
    assert lines['gateway_drift_alarms{monitor="labels",scope="tenant"}'] == "0.0"
    assert float(lines['gateway_drift_p_value{test="embedding_discrepancy"}']) < 1e-6
    assert "acme" not in text


async def test_a_worker_hears_of_the_alarms_of_others(gateway: Swapping, watched: Path, tmp_path: Path) -> None:
    place = Place(tmp_path / "socket", asyncio.Event())
    server = Server(gateway, settings(watched), Metrics(), gateway, place)
    await server.start()
    alarm = dataclasses.asdict(DriftAlarm(DriftMonitor.LABELS, DriftScope.ALL, "", 64, 1.0))
    bundle = gateway.describe().manifest_sha256
    try:
        async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(place.admin_socket))) as session:

            async def post(body: object) -> int:
                async with session.post("http://worker/drift", json=body) as response:
                    return response.status

            assert await post({"alarms": [{"monitor": "weather"}], "manifest_sha256": bundle}) == 400
            assert await post({"alarms": [alarm], "manifest_sha256": "0" * 64}) == 200
            assert gateway.describe().certificate is VALID
            assert await post({"alarms": [alarm], "manifest_sha256": bundle}) == 200
            assert gateway.describe().certificate is STALE
            assert await post({"reset": True}) == 200
            assert gateway.describe().certificate is VALID
            assert await post({}) == 400
    finally:
        await server.stop()


async def test_where_nothing_is_watched_there_is_nothing_to_reset(watched: Path, tmp_path: Path) -> None:
    for bundle, mode in ((watched, DriftMode.OFF), (tiny.write(tmp_path / "bare"), DriftMode.ACT)):
        gateway = await assembly.build(settings(bundle, mode=mode))
        try:
            assert gateway.describe().drift is None
            with pytest.raises(Unavailable, match="forge reference"):
                await gateway.reset_drift()
        finally:
            await gateway.close()


async def test_who_observes_is_told_and_answers_stay_as_they_are(
    watched: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gateway = await assembly.build(settings(watched, mode=DriftMode.OBSERVE))
    try:
        await repeat(gateway, 10 * BATCH)
        now = gateway.describe()
        assert now.drift
        assert now.drift.alarms
        assert now.certificate is VALID
        assert "as drift.mode is observe" in caplog.text
        await gateway.hear_drift(now.drift.alarms, now.manifest_sha256)  # as other workers are told
        assert gateway.describe().certificate is VALID
    finally:
        await gateway.close()


async def test_a_shadow_watches_nothing(gateway: Swapping, watched: Path) -> None:
    assert (await gateway.cast_shadow(watched, 1.0)).drift is None


def test_a_file_that_is_no_reference_is_refused(watched: Path, tmp_path: Path) -> None:
    folder = tiny.write(tmp_path / "tiny")
    (folder / "drift.int8.npz").write_bytes(b"nothing of use")
    digest = bundles.sha256(folder / "drift.int8.npz")
    now = tiny.manifest(folder)
    tiny.rewrite(folder, now.model_copy(update={"files": now.files | {"drift.int8.npz": digest}}))
    with pytest.raises(BundleInvalid, match=r"drift.int8.npz: is no archive"):
        assembly.assemble(settings(folder))


@pytest.mark.parametrize(
    ("alarm", "words"),
    [
        (DriftAlarm(DriftMonitor.LABELS, DriftScope.ALL, "", 64, 0.0), "(after 64 questions; "),
        (DriftAlarm(DriftMonitor.DISTANCE, DriftScope.TENANT, "acme", 64, 0.0), "64 questions of tenant acme; "),
        (DriftAlarm(DriftMonitor.DISTANCE, DriftScope.COLLECTION, "law", 64, 0.0), "64 questions in law; "),
        (DriftAlarm(DriftMonitor.DISTANCE, DriftScope.ALL, "acme", 64, 0.0), "64 questions, most of them of acme; "),
    ],
)
def test_alarms_are_told_in_words(alarm: DriftAlarm, words: str) -> None:
    assert words in drifting.told(alarm)
