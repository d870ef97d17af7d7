"""Who is let in by a server that wants credentials: every method, streams that outlive them, and the admin port."""

from __future__ import annotations

import asyncio
import datetime
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from pathlib import Path
from typing import Any, cast

import aiohttp
import grpc
import grpc.aio
import pytest
import trustme
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from gateway.access import watched
from gateway.access.grants import Scope
from gateway.cli.main import cli
from gateway.client import AsyncClient, CallFailed, Client, Editor, Tls
from gateway.config import AccessSection, Config, TlsSection
from gateway.errors import Unauthenticated
from gateway.rpc.admission import Admission, Caller, Terms
from gateway.rpc.feeds import FeedMethod, feed_handler
from gateway.rpc.handler import Door, Limits
from gateway.rpc.inference.servicer import INFERENCE
from gateway.rpc.observing import Observer
from gateway.rpc.permissions import NEEDS, PUBLIC, need
from gateway.rpc.server import Ports, Server
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.traces import Tracing
from gateway.types import Criticality, Denial, Principal
from gateway.v1 import gateway_pb2 as pb
from gateway.v1 import gateway_pb2_grpc
from tests.callers import created, run
from tests.fakes import FakeGateway

SECRET = "gw_00000000_hunter2hunter2hunter2hunter2"
SERVICES = pb.DESCRIPTOR.services_by_name.values()
METHODS = [(service.full_name, method) for service in SERVICES for method in service.methods]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "callers.json"
    created(path)
    return path


@pytest.fixture
def config(config: Config, file: Path) -> Config:
    return config.model_copy(update={"access": AccessSection(keys=file)})


@pytest.fixture(autouse=True)
def _looked_at_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watched, "PERIOD", 0.05)


def denied(metrics: Metrics, reason: str) -> float:
    return metrics.registry.get_sample_value("gateway_auth_failures_total", {"reason": reason}) or 0.0


async def let_in(target: str, key: str, tls: Tls | None = None) -> None:
    """Wait until the server has read the file in which that key is."""
    async with asyncio.timeout(30), AsyncClient(target, timeout=20, tls=tls, api_key=key) as client:
        while not await is_let_in(client):  # noqa: ASYNC110  # a server
            await asyncio.sleep(0.02)


async def is_let_in(client: AsyncClient) -> bool:
    try:
        await client.answer("Where is my card?")
    except CallFailed as error:
        if error.code != "UNAUTHENTICATED":
            raise
        return False
    return True


# The table.


def test_every_method_of_the_api_is_in_the_table_and_nothing_else() -> None:
    ours = {f"/{service}/{method.name}" for service, method in METHODS}
    assert NEEDS.keys() == ours | {path for path in NEEDS if path.startswith(f"/{INFERENCE}/")}
    with pytest.raises(KeyError):
        need("gateway.v1.Answers", "NotThere")


async def test_what_is_served_is_in_the_table_or_public(channel: grpc.aio.Channel) -> None:
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(cast("Any", channel))
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    (listed,) = [response async for response in stub.ServerReflectionInfo(iter([request]))]
    services = {service.name for service in listed.list_services_response.service}
    assert services | {INFERENCE} == {path.split("/")[1] for path in NEEDS} | PUBLIC


# Every method.


def called(channel: grpc.aio.Channel, service: str, method: Any, key: str) -> Awaitable[object]:
    """The method with an empty request."""
    metadata = (("authorization", f"Bearer {key}"),) if key else ()
    stub = getattr(gateway_pb2_grpc, f"{service.rpartition('.')[2]}Stub")(channel)
    call = getattr(stub, method.name)
    request = getattr(pb, method.input_type.name)()

    async def first() -> object:
        if method.client_streaming:
            stream = call(metadata=metadata, timeout=20)
            await stream.write(request)
            await stream.done_writing()
            return await stream.read()
        if method.server_streaming:
            return await call(request, metadata=metadata, timeout=20).read()
        return await call(request, metadata=metadata, timeout=20)

    return first()


@pytest.mark.parametrize(("service", "method"), METHODS, ids=[method.name for _, method in METHODS])
async def test_a_method_wants_its_scope(
    channel: grpc.aio.Channel, ports: Ports, file: Path, metrics: Metrics, service: str, method: Any
) -> None:
    scope = need(service, method.name)
    assert scope is not None
    others = [option for one in set(Scope) - {scope} for option in ("--scope", one.value)]
    wrong, right = created(file, *others), created(file, "--scope", scope.value)
    await let_in(f"127.0.0.1:{ports.grpc}", created(file))
    for key, code, reason in (
        ("", grpc.StatusCode.UNAUTHENTICATED, "missing"),
        (SECRET, grpc.StatusCode.UNAUTHENTICATED, "unknown"),
        (wrong, grpc.StatusCode.PERMISSION_DENIED, "scope"),
    ):
        before = denied(metrics, reason)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await called(channel, service, method, key)
        assert refused.value.code() is code
        assert denied(metrics, reason) == before + 1
        assert "hunter2" not in str(refused.value)
    try:
        await called(channel, service, method, right)
    except grpc.aio.AioRpcError as error:  # an empty request is not answered, but it is looked at
        if error.code() in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
            raise


async def test_probes_have_no_keys(channel: grpc.aio.Channel) -> None:
    stub: Any = health_pb2_grpc.HealthStub(channel)
    assert (await stub.Check(health_pb2.HealthCheckRequest())).status == health_pb2.HealthCheckResponse.SERVING


# Tenant, groups and criticality are the key's.


async def test_who_asks_is_the_key_s_tenant(ports: Ports, file: Path, gateway: FakeGateway) -> None:
    key = created(file, "--tenant", "acme", "--tenant", "beta", "--group", "staff", "--group", "legal")
    target = f"127.0.0.1:{ports.grpc}"
    await let_in(target, key)
    for principal, expected in (
        (None, Principal("acme", frozenset({"staff", "legal"}))),
        (Principal("beta", frozenset({"staff"})), Principal("beta", frozenset({"staff"}))),
        (Principal("gamma"), "tenant"),
        (Principal("default"), "tenant"),
        (Principal("acme", frozenset({"board"})), "groups"),
    ):
        asked = len(gateway.questions)
        async with AsyncClient(target, principal, timeout=20, api_key=key) as client:
            if isinstance(expected, Principal):
                await client.answer("Where is my card?")
                assert gateway.questions[-1].principal == expected
                continue
            with pytest.raises(CallFailed, match=expected) as refused:
                await client.answer("Where is my card?")
            assert (refused.value.code, refused.value.reason) == ("PERMISSION_DENIED", "PERMISSION_DENIED")
            assert len(gateway.questions) == asked


async def test_a_key_cannot_promote_itself(
    ports: Ports, file: Path, monkeypatch: pytest.MonkeyPatch, server: Server
) -> None:
    key = created(file, "--criticality", "sheddable-plus")
    target = f"127.0.0.1:{ports.grpc}"
    await let_in(target, key)
    seen: list[Criticality] = []
    admit = server._admission.admit

    def noted(caller: Any, *more: Any) -> Any:
        seen.append(caller.criticality)
        return admit(caller, *more)

    monkeypatch.setattr(server._admission, "admit", noted)
    for claimed in (None, Criticality.CRITICAL_PLUS, Criticality.SHEDDABLE):
        async with AsyncClient(target, timeout=20, criticality=claimed, api_key=key) as client:
            await client.answer("Where is my card?")
    assert seen == [Criticality.SHEDDABLE_PLUS, Criticality.SHEDDABLE_PLUS, Criticality.SHEDDABLE]


async def test_credentials_that_are_given_twice(channel: grpc.aio.Channel) -> None:
    metadata = (("authorization", f"Bearer {SECRET}"), ("authorization", "Bearer other"))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await gateway_pb2_grpc.AnswersStub(channel).Answer(pb.AnswerRequest(question="?"), metadata=metadata)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "hunter2" not in str(refused.value)


# Streams outlive credentials.


async def test_a_stream_of_a_revoked_key_gets_no_more_answers(
    ports: Ports, file: Path, channel: grpc.aio.Channel, metrics: Metrics
) -> None:
    key = created(file)
    await let_in(f"127.0.0.1:{ports.grpc}", key)
    call = gateway_pb2_grpc.AnswersStub(channel).AnswerStream(metadata=(("authorization", f"Bearer {key}"),))
    request = pb.AnswerStreamRequest(question=pb.AnswerRequest(question="Where is my card?"), timeout_ms=20_000)
    await call.write(request)
    assert (await call.read()).HasField("answer")
    run(file, "revoke", key.split("_")[1])
    async with asyncio.timeout(30):
        while True:
            await call.write(request)
            response = await call.read()
            if not response.HasField("answer"):
                break
            await asyncio.sleep(0.02)
    assert response.error.code == grpc.StatusCode.UNAUTHENTICATED.value[0]
    assert denied(metrics, "unknown") >= 1
    call.cancel()


async def test_a_feed_to_a_revoked_key_ends(metrics: Metrics) -> None:
    """Watch tells for as long as both sides go on; what comes after the end of the key is not told."""
    told: list[int] = []

    def recheck() -> None:
        if told:
            raise Unauthenticated(Denial.UNKNOWN)

    class Callers:
        def of(self, scope: Scope, context: object) -> Caller:
            assert scope is Scope.READ
            return Caller(Principal(), recheck=recheck)

    class Context:
        code: grpc.StatusCode | None = None

        async def send_initial_metadata(self, _: object) -> None:
            pass

        async def write(self, message: pb.WatchResponse) -> None:
            told.append(message.version)

        async def abort(self, code: grpc.StatusCode, *_: object) -> None:
            self.code = code

    async def changes(request: pb.WatchRequest, caller: Caller) -> AsyncGenerator[pb.WatchResponse, None]:
        for version in (1, 2, 3):
            yield pb.WatchResponse(version=version)

    admission = Admission(Terms(permits=1), FakeGateway().forecast)
    door = Door(metrics, cast("Any", Callers()), admission, Limits(0.2, 10.0), Observer(Tracing(metrics.traces)))
    method = FeedMethod("gateway.v1.Knowledge", "Watch", pb.WatchRequest, changes)
    context = Context()
    await cast("Any", feed_handler(method, door)).unary_stream(pb.WatchRequest(), context)
    assert told == [1]
    assert context.code is grpc.StatusCode.UNAUTHENTICATED


# Nothing of a key gets out.


async def test_a_key_is_in_no_log_no_error_and_no_metric(
    ports: Ports, file: Path, gateway: FakeGateway, metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    key = created(file)
    target = f"127.0.0.1:{ports.grpc}"
    await let_in(target, key)

    async def broken(*_: object) -> Any:
        raise KeyError(key)

    gateway.behaviour = broken
    said = []
    for given, question in ((key, "Where?"), (key[:-1], "Where?"), (key, " "), (f" {key}", "Where?")):
        async with AsyncClient(target, timeout=20, api_key=given) as client:
            with pytest.raises(CallFailed) as refused:
                await client.answer(question)
            said += [str(refused.value), repr(refused.value), repr(client)]
    text = "\n".join([*said, metrics.render()[0].decode(), await status(ports)])
    text += "\n".join(record.getMessage() for record in caplog.records)
    assert key not in text
    assert key[:-1] not in text


async def status(ports: Ports) -> str:
    url = f"http://127.0.0.1:{ports.admin}/status"
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return await response.text()


# The admin port.


async def posted(ports: Ports, headers: dict[str, str]) -> tuple[int, str]:
    url = f"http://127.0.0.1:{ports.admin}/drift"
    async with aiohttp.ClientSession() as session, session.post(url, json={}, headers=headers) as response:
        return response.status, await response.text()


async def test_changes_by_the_admin_port_want_an_admin_s_key(ports: Ports, file: Path) -> None:
    admin, other = created(file, "--scope", "admin"), created(file)
    await let_in(f"127.0.0.1:{ports.grpc}", created(file))
    assert (await posted(ports, {}))[0] == 401
    assert (await posted(ports, {"Authorization": f"Bearer {SECRET}"}))[0] == 401
    assert (await posted(ports, {"Authorization": f"Bearer {other}"}))[0] == 403
    assert (await posted(ports, {"Authorization": f"Bearer {admin}"}))[0] == 404  # let in, and nothing is there
    assert "hunter2" not in (await posted(ports, {"Authorization": f"Bearer {SECRET}"}))[1]
    assert '"ready": true' in await status(ports)


@pytest.fixture
async def open_ports(gateway: FakeGateway, config: Config) -> AsyncIterator[Ports]:
    server = Server(gateway, config.model_copy(update={"access": AccessSection()}), Metrics())
    yield await server.start()
    await server.stop()


async def test_changes_are_taken_from_this_machine_alone(open_ports: Ports, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (await posted(open_ports, {}))[0] == 404
    monkeypatch.setattr("gateway.rpc.guard.is_loopback", lambda host: False)
    code, text = await posted(open_ports, {})
    assert code == 403
    assert "from this machine alone" in json.loads(text)["error"]


# Certificates say who calls.


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def own(tmp_path: Path, authority: trustme.CA) -> Path:
    """The folder of a server's certificate and of whom it trusts."""
    made = authority.issue_cert("localhost")
    made.private_key_pem.write_to_path(str(tmp_path / "server.key"))
    made.cert_chain_pems[0].write_to_path(str(tmp_path / "server.pem"))
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return tmp_path


@pytest.fixture
async def tls_ports(gateway: FakeGateway, config: Config, metrics: Metrics, own: Path) -> AsyncIterator[Ports]:
    tls = TlsSection(certificate=own / "server.pem", key=own / "server.key", client_ca=own / "ca.pem")
    server = Server(gateway, config.model_copy(update={"tls": tls}), metrics)
    yield await server.start()
    await server.stop()


def shown(own: Path, authority: trustme.CA, name: str) -> Tls:
    """What a client with a certificate of that name connects with."""
    made = authority.issue_cert(name)
    made.private_key_pem.write_to_path(str(own / f"{name}.key"))
    made.cert_chain_pems[0].write_to_path(str(own / f"{name}.pem"))
    return Tls(own / "ca.pem", own / f"{name}.pem", own / f"{name}.key")


async def test_the_name_in_a_certificate_says_who_calls(
    tls_ports: Ports, own: Path, authority: trustme.CA, file: Path, gateway: FakeGateway, metrics: Metrics
) -> None:
    run(file, "create", "billing", "--certificate-name", "billing.acme", "--tenant", "acme", "--group", "staff")
    target = f"localhost:{tls_ports.grpc}"
    billing, stranger = (shown(own, authority, name) for name in ("billing.acme", "stranger.acme"))
    key = created(file, "--tenant", "beta")
    await let_in(target, key, billing)  # where there is a key, it says who calls
    assert gateway.questions[-1].principal == Principal("beta")
    async with AsyncClient(target, timeout=20, tls=billing) as client:
        await client.answer("Where is my card?")
        assert gateway.questions[-1].principal == Principal("acme", frozenset({"staff"}))
    async with AsyncClient(target, Principal("beta"), timeout=20, tls=billing) as client:
        with pytest.raises(CallFailed, match="PERMISSION_DENIED"):
            await client.answer("Where is my card?")
    async with AsyncClient(target, timeout=20, tls=stranger) as client:
        with pytest.raises(CallFailed, match="UNAUTHENTICATED"):
            await client.answer("Where is my card?")
    assert denied(metrics, "unknown") >= 1


def with_uri(own: Path, authority: trustme.CA, uri: str) -> Tls:
    """As `shown`, named as SPIFFE names: a URI, and no host."""
    key = ec.generate_private_key(ec.SECP256R1())
    signer = x509.load_pem_x509_certificate(authority.cert_pem.bytes())
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(signer.subject)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), critical=True)
        .sign(load_pem_private_key(authority.private_key_pem.bytes(), None), hashes.SHA256())  # type: ignore[arg-type]
    )
    form = Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    (own / "uri.key").write_bytes(key.private_bytes(*form))
    (own / "uri.pem").write_bytes(made.public_bytes(Encoding.PEM))
    return Tls(own / "ca.pem", own / "uri.pem", own / "uri.key")


async def test_a_certificate_may_be_named_by_a_uri(
    tls_ports: Ports, own: Path, authority: trustme.CA, file: Path, gateway: FakeGateway
) -> None:
    uri = "spiffe://acme/ns/prod/sa/billing"
    run(file, "create", "billing", "--certificate-name", uri, "--tenant", "acme")
    await let_in(f"localhost:{tls_ports.grpc}", "", with_uri(own, authority, uri))
    assert gateway.questions[-1].principal == Principal("acme")


# The clients, and the commands.


@pytest.mark.parametrize(
    ("target", "more", "is_refused"),
    [
        ("gateway.example:50051", (), True),
        ("10.0.0.1:50051", (), True),
        ("127.0.0.1:1", (), False),
        ("[::1]:1", (), False),
        ("localhost:1", (), False),
        ("192.0.2.1:1", ("--insecure",), False),
        ("192.0.2.1:1", ("--tls",), False),
    ],
)
def test_a_key_goes_to_no_other_machine_in_the_clear(target: str, more: tuple[str, ...], is_refused: bool) -> None:
    arguments = ["ask", "--target", target, *more, "--timeout-ms", "50", "Where is my card?"]
    result = CliRunner().invoke(cli, arguments, env={"GATEWAY_API_KEY": SECRET})
    assert ("not sent there without TLS" in result.output) == is_refused
    assert result.exit_code == (2 if is_refused else 3)


async def test_a_client_without_tls_is_told_what_to_say(tls_ports: Ports) -> None:
    arguments = ["ask", "--target", f"127.0.0.1:{tls_ports.grpc}", "--timeout-ms", "20000", "Where is my card?"]
    result = await asyncio.to_thread(CliRunner().invoke, cli, arguments)
    assert result.exit_code == 3
    assert "it may want TLS (--tls)" in result.output


async def test_all_clients_speak_tls_and_show_their_key(
    tls_ports: Ports, own: Path, authority: trustme.CA, file: Path, tmp_path: Path
) -> None:
    tls = shown(own, authority, "any.acme")
    key = created(file, "--scope", "ask", "--scope", "read")
    target = f"localhost:{tls_ports.grpc}"

    def asked() -> None:
        with Client(target, timeout=20, tls=tls, api_key=key) as client:
            client.answer("Where is my card?")
        with Editor(target, timeout=20, tls=tls, api_key=key) as editor:
            editor.collections()

    await let_in(target, key, tls)
    await asyncio.to_thread(asked)
    (tmp_path / "key").write_text(f"{key}\n")
    options = ["--target", target, "--ca", f"{tls.root}", "--client-certificate", f"{tls.certificate}"]
    options += ["--client-key", f"{tls.key}", "--timeout-ms", "20000"]

    async def command(*more: str, **environment: str) -> tuple[int, str]:
        arguments = ["ask", *options, *more, "Where is my card?"]
        result = await asyncio.to_thread(CliRunner().invoke, cli, arguments, env=environment)
        return result.exit_code, result.output

    assert (await command("--api-key-file", f"{tmp_path / 'key'}"))[0] == 0
    assert (await command(GATEWAY_API_KEY=key))[0] == 0
    code, said = await command(GATEWAY_API_KEY=SECRET)
    assert code == 4
    assert "put the key into GATEWAY_API_KEY" in said
    assert "hunter2" not in said
    # By address: where a name has two and nothing listens at the other one, gRPC tells of either (grpcio 1.80).
    address = ("--target", f"127.0.0.1:{tls_ports.grpc}")
    code, said = await command(*address, "--server-name", "other.acme", GATEWAY_API_KEY=key)
    assert code == 3
    assert "say which with --server-name" in said
    code, said = await command("--api-key-file", f"{tmp_path / 'nothing'}")
    assert code == 2
    assert "nothing: cannot be read" in said


def test_the_list_shows_who_may_call_and_no_key(file: Path) -> None:
    key = created(file, "--tenant", "acme")
    shown = run(file, "list")
    assert shown.exit_code == 0
    assert "acme" in shown.output
    assert key not in shown.output
