"""TLS on the gRPC port: who is let in by certificates, and what becomes of files that change while calls are made."""

from __future__ import annotations

import asyncio
import datetime
import os
import ssl
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import grpc
import grpc.aio
import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from gateway.access import watched
from gateway.access.certificates import read_identity
from gateway.access.watched import Watched
from gateway.config import Config, ServerSection, TlsSection
from gateway.errors import ConfigInvalid
from gateway.rpc import binding
from gateway.rpc.server import Ports, Server
from gateway.telemetry.metrics import Metrics
from gateway.v1 import gateway_pb2 as pb
from gateway.v1 import gateway_pb2_grpc
from tests.fakes import FakeGateway

END = datetime.datetime(2096, 1, 1, tzinfo=datetime.UTC)
REQUEST = pb.AnswerRequest(question="Where is my card?")


@dataclass
class Files:
    """A certificate of `authority` for localhost, in files."""

    folder: Path
    authority: trustme.CA

    @property
    def certificate(self) -> Path:
        return self.folder / "server.pem"

    @property
    def key(self) -> Path:
        return self.folder / "server.key"

    @property
    def section(self) -> TlsSection:
        return TlsSection(certificate=self.certificate, key=self.key)

    def issue(self) -> int:
        """Another one, in their place. Its serial number."""
        made = self.authority.issue_cert("localhost", "127.0.0.1", not_after=END)
        chain = b"".join(one.bytes() for one in made.cert_chain_pems)
        put(self.key, made.private_key_pem.bytes())
        put(self.certificate, chain)
        return x509.load_pem_x509_certificate(chain).serial_number


def put(path: Path, content: bytes) -> None:
    """Whole, as tools that renew certificates do."""
    beside = path.with_suffix(".new")
    beside.write_bytes(content)
    beside.replace(path)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    made = Files(tmp_path, trustme.CA())
    made.issue()
    return made


def roots(files: Files) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(files.authority.cert_pem.bytes())


async def ask(port: int, credentials: grpc.ChannelCredentials) -> pb.AnswerResponse:
    """Over a connection of its own."""
    options = (("grpc.use_local_subchannel_pool", 1),)
    async with grpc.aio.secure_channel(f"localhost:{port}", credentials, options) as channel:
        return await gateway_pb2_grpc.AnswersStub(channel).Answer(REQUEST, timeout=20)  # type: ignore[no-any-return]


async def serial(port: int) -> int:
    """Of the certificate that a new connection is shown."""

    pem = await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", port))
    return x509.load_pem_x509_certificate(pem.encode()).serial_number


@pytest.fixture
async def serving(gateway: FakeGateway, config: Config, metrics: Metrics) -> AsyncIterator[Callable[..., object]]:
    servers: list[Server] = []

    async def start(section: TlsSection, **more: object) -> Ports:
        server = Server(gateway, config.model_copy(update={"tls": section, **more}), metrics)
        servers.append(server)
        return await server.start()

    yield start
    for server in servers:
        await server.stop()


async def test_only_tls_is_spoken(files: Files, serving: Callable[..., asyncio.Future[Ports]]) -> None:
    port = (await serving(files.section)).grpc
    assert (await ask(port, roots(files))).text
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await gateway_pb2_grpc.AnswersStub(channel).Answer(REQUEST, timeout=20)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_with_a_client_ca_a_client_shows_a_certificate(
    files: Files, tmp_path: Path, serving: Callable[..., asyncio.Future[Ports]]
) -> None:
    signer, stranger = trustme.CA(), trustme.CA()
    signer.cert_pem.write_to_path(str(tmp_path / "clients.pem"))
    section = files.section.model_copy(update={"client_ca": tmp_path / "clients.pem"})
    port = (await serving(section)).grpc

    def shown(by: trustme.CA) -> grpc.ChannelCredentials:
        made = by.issue_cert("billing.acme")
        return grpc.ssl_channel_credentials(
            files.authority.cert_pem.bytes(), made.private_key_pem.bytes(), made.cert_chain_pems[0].bytes()
        )

    assert (await ask(port, shown(signer))).text
    for credentials in (roots(files), shown(stranger)):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await ask(port, credentials)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


# Changes under load.


async def seen(port: int, wanted: int) -> None:
    async with asyncio.timeout(30):
        while await serial(port) != wanted:  # noqa: ASYNC110  # a server
            await asyncio.sleep(0.05)


async def test_rotations_drop_no_call_and_a_broken_pair_changes_nothing(
    files: Files,
    serving: Callable[..., asyncio.Future[Ports]],
    metrics: Metrics,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(watched, "PERIOD", 0.05)
    server = ServerSection(port=0, admin_port=0, max_in_flight=100, default_timeout_ms=10_000)
    port = (await serving(files.section, server=server)).grpc
    answered, is_over = 0, False

    async def old_connection() -> None:
        nonlocal answered
        async with grpc.aio.secure_channel(f"localhost:{port}", roots(files)) as channel:
            stub = gateway_pb2_grpc.AnswersStub(channel)
            while not is_over:
                await stub.Answer(REQUEST, timeout=20)
                answered += 1

    async def new_connections() -> None:
        nonlocal answered
        while not is_over:
            await ask(port, roots(files))
            answered += 1

    load = [asyncio.create_task(one()) for one in (old_connection, new_connections)]
    for _ in range(3):
        await seen(port, files.issue())
    working = await serial(port)
    secret = b"-----BEGIN PRIVATE KEY-----\nhunter2hunter2\n-----END PRIVATE KEY-----\n"
    put(files.key, secret)
    async with asyncio.timeout(30):
        while counted(metrics, "rejected") < 1:  # noqa: ASYNC110  # a server
            await asyncio.sleep(0.05)
    assert await serial(port) == working
    await seen(port, files.issue())  # and from a broken pair there is a way back
    is_over = True
    await asyncio.gather(*load)  # raises what a call has raised
    assert answered >= 8
    assert counted(metrics, "accepted") >= 4
    assert "server.key: holds no private key in PEM" in caplog.text
    assert "hunter2" not in caplog.text


def counted(metrics: Metrics, outcome: str) -> float:
    return metrics.registry.get_sample_value("gateway_reloads_total", {"what": "tls", "outcome": outcome}) or 0.0


async def test_the_end_of_the_certificate_is_told(
    files: Files, serving: Callable[..., asyncio.Future[Ports]], metrics: Metrics
) -> None:
    name, labels = "gateway_tls_not_after_timestamp_seconds", {"certificate": "server"}
    assert metrics.registry.get_sample_value(name, labels) is None
    await serving(files.section)
    end = x509.load_pem_x509_certificate(files.certificate.read_bytes()).not_valid_after_utc
    assert metrics.registry.get_sample_value(name, labels) == end.timestamp()


# What is refused from the start, and why.


@pytest.mark.parametrize("name", ["certificate", "key"])
def test_what_is_missing_is_named(files: Files, name: str) -> None:
    path: Path = getattr(files, name)
    path.unlink()
    with pytest.raises(ConfigInvalid, match=rf"{path.name}: cannot be read \(No such file"):
        read_identity(files.certificate, files.key)
    path.write_text("nothing of the kind")
    with pytest.raises(ConfigInvalid, match=rf"{path.name}: holds no (certificate|private key) in PEM"):
        read_identity(files.certificate, files.key)


def test_a_key_of_another_certificate(files: Files) -> None:
    key = files.key.read_bytes()
    files.issue()
    files.key.write_bytes(key)
    with pytest.raises(ConfigInvalid, match=r"server\.key: is not the key of .*server\.pem"):
        read_identity(files.certificate, files.key)


def test_an_encrypted_key(files: Files) -> None:
    key = serialization.load_pem_private_key(files.key.read_bytes(), None)
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    files.key.write_bytes(key.private_bytes(*form, serialization.BestAvailableEncryption(b"secret")))
    with pytest.raises(ConfigInvalid, match=r"server\.key: is encrypted"):
        read_identity(files.certificate, files.key)


@pytest.mark.parametrize(("moment", "problem"), [(4e9, "has expired on"), (0.0, "holds from")])
def test_a_certificate_of_another_time(
    files: Files, monkeypatch: pytest.MonkeyPatch, moment: float, problem: str
) -> None:
    monkeypatch.setattr(time, "time", lambda: moment)
    with pytest.raises(ConfigInvalid, match=rf"server\.pem: {problem}"):
        read_identity(files.certificate, files.key)


def test_a_client_ca_that_is_none(files: Files, tmp_path: Path) -> None:
    (tmp_path / "clients.pem").write_text("")
    with pytest.raises(ConfigInvalid, match=r"clients\.pem: holds no certificate"):
        read_identity(files.certificate, files.key, tmp_path / "clients.pem")


@pytest.mark.parametrize("given", [{"certificate": "a.pem"}, {"key": "a.key"}, {"client_ca": "ca.pem"}])
def test_settings_that_are_half_of_tls(given: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="TLS takes"):
        TlsSection.model_validate(given)


@pytest.mark.parametrize(
    ("host", "more", "is_refused"),
    [
        ("127.0.0.1", {}, False),
        ("::1", {}, False),
        ("localhost", {}, False),
        ("::ffff:127.0.0.1", {}, False),
        ("0.0.0.0", {}, True),
        ("::", {}, True),
        ("gateway.example", {}, True),
        ("0.0.0.0", {"insecure": True}, False),
    ],
)
def test_no_other_address_without_tls(host: str, more: dict[str, bool], is_refused: bool) -> None:
    config = Config(server=ServerSection.model_validate({"host": host, **more}))
    if is_refused:
        with pytest.raises(ConfigInvalid, match=r"tls\.certificate.*--insecure"):
            binding.check_exposure(config)
        with pytest.raises(ConfigInvalid):
            Server(FakeGateway(), config, Metrics())
    else:
        binding.check_exposure(config)


def test_with_tls_any_address_will_do(files: Files) -> None:
    config = Config(server=ServerSection(host="0.0.0.0", admin_host="10.0.0.1"), tls=files.section)
    binding.check_exposure(config)
    assert any("admin_host" in one for one in binding.exposures(config))


# Files that change.


def test_a_file_that_is_being_changed_is_left_alone_until_it_stays(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("0")
    told: list[bool] = []
    one = Watched("number", [path], lambda: number(path), told.append)
    path.write_text("half of 1")
    one.look()
    path.write_text("12")
    os.utime(path, ns=(0, time.time_ns()))
    one.look()
    assert (one.current, told) == (0, [])
    one.look()
    assert (one.current, told) == (12, [True])
    path.unlink()
    for _ in range(3):
        one.look()
    assert (one.current, told) == (12, [True, False])
    path.write_text("13")
    one.look()
    one.look()
    assert (one.current, told) == (13, [True, False, True])


def test_what_nobody_has_thought_of_changes_nothing_and_is_not_quoted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, answers = tmp_path / "file", ["good"]
    path.write_text("0")

    def read() -> str:
        if path.read_text() == "hunter2":
            raise KeyError(path.read_text())
        return answers[-1]

    one = Watched("secret", [path], read)
    path.write_text("hunter2")
    for _ in range(2):
        one.look()
    assert one.current == "good"
    assert "the secret that was in use stays in use: KeyError" in caplog.text
    assert "hunter2" not in caplog.text


def number(path: Path) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        raise ConfigInvalid(f"{path}: is no number") from None
