"""Swapping bundles: who answers before, during and after, what is refused, and the way back."""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import threading
import urllib.error
import urllib.request
import weakref
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import grpc.aio
import pytest
from click.testing import CliRunner

from gateway import assembly
from gateway.assembled import Assembled
from gateway.cli.main import cli
from gateway.config import CascadeSection, Config, KnowledgeSection, ModelSection
from gateway.deadline import Deadline
from gateway.errors import BundleInvalid, Draining, Unavailable
from gateway.rpc.server import Ports, Server
from gateway.rpc.service import Description
from gateway.swapping import Swapping
from gateway.telemetry.metrics import Metrics
from gateway.types import Agreement, Answer, Principal, Question
from tests import tiny
from tests.fakes import ANSWER, FakeGateway

QUESTION = Question("why?", "banking")
SOON = Deadline.after(60)


class Named(FakeGateway):
    """A gateway that answers with its name, once its gate is open."""

    def __init__(self, name: str) -> None:
        super().__init__(self._named)
        self.name = name
        self.gate = asyncio.Event()
        self.gate.set()
        self.is_started = False
        self.is_candidate = False
        self.sha256 = "cd" * 32

    def start(self) -> None:
        self.is_started = True

    async def _named(self, question: Question, deadline: Deadline) -> Answer:
        await self.gate.wait()
        return replace(ANSWER, bundle=self.name)

    def describe(self) -> Description:
        return replace(super().describe(), bundle=self.name, manifest_sha256=self.sha256)


class Shelf:
    """Loads from folders by name. A folder called `broken` does not load, one called `poor` lacks a collection."""

    sha256 = "cd" * 32
    """Of every manifest that is loaded from now on."""

    def __init__(self) -> None:
        self.made: dict[str, Named] = {}
        self.agreements: list[Agreement] = []
        self.gate = threading.Event()
        self.gate.set()
        self.is_loading = False
        self.is_divided = False

    def observe(self, agreement: Agreement, seconds: float) -> None:
        self.agreements.append(agreement)

    def __call__(self, folder: Path, is_candidate: bool, go_on: Callable[[], None]) -> Named:
        self.is_loading = True
        self.gate.wait(60)
        if self.is_divided:
            go_on()
        if folder.name == "broken":
            raise BundleInvalid(f"{folder}: broken")
        made = self.made[folder.name] = Poor("poor") if folder.name == "poor" else Named(folder.name)
        made.is_candidate, made.sha256 = is_candidate, self.sha256
        return made


class Poor(Named):
    def collections(self) -> Sequence[str]:
        return ("banking",)


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def first() -> Named:
    return Named("first")


@pytest.fixture
async def swapping(first: Named, shelf: Shelf) -> AsyncIterator[Swapping]:
    swapping = Swapping(first, Path("/bundles/first"), shelf, shelf.observe, gently=False)
    yield swapping
    await swapping.close()


async def who(swapping: Swapping) -> str:
    return (await swapping.answer(QUESTION, SOON)).bundle


async def test_the_next_question_is_the_new_one_s(swapping: Swapping, first: Named, shelf: Shelf) -> None:
    assert await who(swapping) == "first"
    assert (await swapping.swap(Path("/bundles/second"))).bundle == "second"
    assert await who(swapping) == "second"
    assert swapping.describe().bundle == "second"
    assert shelf.made["second"].is_started
    await asyncio.sleep(0)
    assert first.is_closed


async def test_what_the_old_one_has_begun_it_finishes(swapping: Swapping, first: Named) -> None:
    first.gate.clear()
    begun = asyncio.create_task(who(swapping))
    await asyncio.sleep(0)
    await swapping.swap(Path("/bundles/second"))
    await asyncio.sleep(0.01)
    assert not first.is_closed
    first.gate.set()
    assert await begun == "first"
    await asyncio.sleep(0.01)
    assert first.is_closed


async def test_one_that_has_left_is_freed_soon_though_it_is_a_cycle(swapping: Swapping, shelf: Shelf) -> None:
    await swapping.swap(Path("/bundles/second"))
    freed = asyncio.Event()
    weakref.finalize(shelf.made.pop("second"), freed.set)
    gc.disable()  # by itself it may come at any time, and in hours
    try:
        await swapping.swap(Path("/bundles/third"))
        async with asyncio.timeout(10):
            await freed.wait()
    finally:
        gc.enable()


async def test_the_old_one_answers_while_another_is_loaded(swapping: Swapping, shelf: Shelf) -> None:
    shelf.gate.clear()
    swap = asyncio.create_task(swapping.swap(Path("/bundles/second")))
    await asyncio.sleep(0.01)
    assert await who(swapping) == "first"
    with pytest.raises(Unavailable, match="another bundle is being loaded"):
        await swapping.swap(Path("/bundles/third"))
    shelf.gate.set()
    await swap
    assert await who(swapping) == "second"


@pytest.mark.parametrize(("folder", "problem"), [("broken", "broken"), ("poor", "cannot serve the collections legal")])
async def test_what_is_not_fit_never_serves(swapping: Swapping, shelf: Shelf, folder: str, problem: str) -> None:
    with pytest.raises(BundleInvalid, match=problem):
        await swapping.swap(Path("/bundles") / folder)
    assert await who(swapping) == "first"
    assert all(made.is_closed for made in shelf.made.values())
    await swapping.swap(Path("/bundles/second"))
    assert await who(swapping) == "second"


async def test_the_way_back(swapping: Swapping) -> None:
    with pytest.raises(BundleInvalid, match="no other bundle"):
        await swapping.roll_back()
    await swapping.swap(Path("/bundles/second"))
    assert (await swapping.roll_back()).bundle == "first"
    assert (await swapping.roll_back()).bundle == "second"


async def test_the_same_bundle_again_leaves_the_way_back(swapping: Swapping, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/bundles/second")
    for folder in (Path("/bundles/second"), Path("/bundles/second"), tmp_path / "link"):
        await swapping.swap(folder)
    assert (await swapping.roll_back()).bundle == "first"


async def test_there_is_no_way_back_to_what_has_changed(swapping: Swapping, first: Named, shelf: Shelf) -> None:
    await swapping.swap(Path("/bundles/second"))
    shelf.sha256 = "ef" * 32
    with pytest.raises(BundleInvalid, match=r"/bundles/first: .* was cdcdcdcdcdcd\.\.\. and is efefefefefef\.\.\. now"):
        await swapping.roll_back()
    assert (await who(swapping), shelf.made["first"].is_closed) == ("second", True)
    await swapping.swap(Path("/bundles/second"))  # in the same folder, and another one all the same
    shelf.sha256 = "cd" * 32
    assert (await swapping.roll_back()).bundle == "second"


async def test_two_steps_are_a_swap(swapping: Swapping, shelf: Shelf) -> None:
    assert (await swapping.prepare(Path("/bundles/second"))).bundle == "second"
    assert (await who(swapping), shelf.made["second"].is_started) == ("first", False)
    assert (await swapping.switch(Path("/bundles/second"))).bundle == "second"
    assert await who(swapping) == "second"
    with pytest.raises(Unavailable, match="second is not prepared"):
        await swapping.switch(Path("/bundles/second"))


async def test_what_was_prepared_is_let_go(swapping: Swapping, shelf: Shelf) -> None:
    for name in ("second", "third"):
        await swapping.prepare(Path("/bundles") / name)
    assert shelf.made["second"].is_closed
    with pytest.raises(Unavailable, match="second is not prepared"):
        await swapping.switch(Path("/bundles/second"))
    await swapping.discard()
    assert shelf.made["third"].is_closed
    with pytest.raises(Unavailable, match="third is not prepared"):
        await swapping.switch(Path("/bundles/third"))


async def test_what_is_discarded_while_it_is_loaded_is_let_go(swapping: Swapping, shelf: Shelf) -> None:
    shelf.gate.clear()
    preparing = asyncio.create_task(swapping.prepare(Path("/bundles/second")))
    await begun(shelf)
    with pytest.raises(Unavailable, match="another bundle is being loaded"):
        await swapping.prepare(Path("/bundles/third"))  # which discards nothing
    await swapping.discard()
    shelf.gate.set()
    with pytest.raises(Unavailable, match="second was discarded before it was loaded"):
        await preparing
    assert shelf.made["second"].is_closed


# The end, and callers who go away.


async def begun(shelf: Shelf) -> None:
    """Wait until something is being loaded."""
    async with asyncio.timeout(60):
        while not shelf.is_loading:  # noqa: ASYNC110  # on a thread
            await asyncio.sleep(0.001)
    shelf.is_loading = False


async def test_the_load_of_a_caller_who_has_gone_goes_on_alone(swapping: Swapping, shelf: Shelf) -> None:
    shelf.gate.clear()
    swap = asyncio.create_task(swapping.swap(Path("/bundles/second")))
    await begun(shelf)
    swap.cancel()
    await asyncio.wait({swap})
    for change in (swapping.swap(Path("/bundles/third")), swapping.cast_shadow(Path("/bundles/third"), 0.5)):
        with pytest.raises(Unavailable, match="another bundle is being loaded"):
            await change
    shelf.gate.set()
    async with asyncio.timeout(60):
        while "second" not in shelf.made or not shelf.made["second"].is_closed:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    assert await who(swapping) == "first"
    assert (await swapping.swap(Path("/bundles/third"))).bundle == "third"


@pytest.mark.parametrize("is_gone", [False, True])
@pytest.mark.parametrize("is_shadow", [False, True])
async def test_what_is_loaded_at_the_end_is_closed(
    swapping: Swapping, first: Named, shelf: Shelf, is_shadow: bool, is_gone: bool
) -> None:
    shelf.gate.clear()
    folder = Path("/bundles/second")
    change = asyncio.create_task(swapping.cast_shadow(folder, 0.5) if is_shadow else swapping.swap(folder))
    await begun(shelf)
    if is_gone:
        change.cancel()
    closing = asyncio.create_task(swapping.close())
    await asyncio.wait({change})  # nobody waits for the load to end
    assert change.cancelled() if is_gone else isinstance(change.exception(), Draining)
    shelf.gate.set()
    await closing
    assert (first.is_closed, shelf.made["second"].is_closed) == (True, True)
    assert not shelf.made["second"].is_started


async def test_the_end_of_the_load_and_of_the_server_may_meet(first: Named, shelf: Shelf) -> None:
    """However many turns of the loop lie between the two."""
    for turns in range(8):
        swapping = Swapping(Named("first"), Path("/bundles/first"), shelf, shelf.observe, gently=False)
        shelf.gate.clear()
        change = asyncio.create_task(swapping.swap(Path("/bundles/second")))
        await begun(shelf)
        shelf.gate.set()
        while "second" not in shelf.made:  # noqa: ASYNC110  # on a thread
            await asyncio.sleep(0)
        for _ in range(turns):
            await asyncio.sleep(0)
        await swapping.close()
        assert shelf.made.pop("second").is_closed
        await asyncio.wait({change})
        assert change.exception() is None or isinstance(change.exception(), Draining)


async def test_a_load_that_nobody_wants_ends_at_its_next_step(swapping: Swapping, shelf: Shelf) -> None:
    shelf.gate.clear()
    shelf.is_divided = True
    change = asyncio.create_task(swapping.swap(Path("/bundles/second")))
    await begun(shelf)
    swapping.settle()
    with pytest.raises(Draining):
        await change
    shelf.gate.set()
    await swapping.close()
    assert not shelf.made


async def test_nothing_changes_after_the_end(swapping: Swapping, shelf: Shelf) -> None:
    await swapping.swap(Path("/bundles/second"))
    await swapping.prepare(Path("/bundles/third"))
    await swapping.close()
    folder = Path("/bundles/third")
    for change in (
        swapping.swap(folder),
        swapping.cast_shadow(folder, 0.5),
        swapping.prepare(folder),
        swapping.switch(folder),
        swapping.roll_back(),
    ):
        with pytest.raises(Draining, match="this server is ending"):
            await change
    assert [made.is_closed for made in shelf.made.values()] == [True, True]


async def test_the_end_closes_who_has_not_finished(swapping: Swapping, first: Named, shelf: Shelf) -> None:
    first.gate.clear()
    begun = asyncio.create_task(who(swapping))
    await asyncio.sleep(0)
    await swapping.swap(Path("/bundles/second"))
    await swapping.cast_shadow(Path("/bundles/third"), 0.5)
    await swapping.close()
    assert [one.is_closed for one in (first, *shelf.made.values())] == [True, True, True]
    begun.cancel()


async def test_a_share_that_is_none_loads_nothing(swapping: Swapping, shelf: Shelf) -> None:
    with pytest.raises(ValueError, match="share"):
        await swapping.cast_shadow(Path("/bundles/second"), 2.0)
    assert not shelf.made


async def test_only_a_candidate_is_loaded_as_one(swapping: Swapping, shelf: Shelf) -> None:
    await swapping.cast_shadow(Path("/bundles/second"), 0.5)
    await swapping.swap(Path("/bundles/third"))
    assert (shelf.made["second"].is_candidate, shelf.made["third"].is_candidate) == (True, False)


async def test_searches_go_where_answers_go(swapping: Swapping, first: Named, shelf: Shelf) -> None:
    await swapping.swap(Path("/bundles/second"))
    await swapping.search("why?", "banking", Principal(), 1, SOON)
    assert (len(first.searches), len(shelf.made["second"].searches)) == (0, 1)


async def test_a_shadow_sees_questions_and_answers_nobody(swapping: Swapping, shelf: Shelf) -> None:
    assert (await swapping.cast_shadow(Path("/bundles/second"), 1.0)).bundle == "second"
    shelf.made["second"].waiting = swapping._current.gateway.waiting = lambda: 0  # type: ignore[method-assign]
    assert await who(swapping) == "first"
    await asyncio.sleep(0.01)
    assert shelf.made["second"].questions == [QUESTION]
    assert shelf.agreements == [Agreement.SAME]
    await swapping.end_shadow()
    assert shelf.made["second"].is_closed
    await who(swapping)
    assert len(shelf.agreements) == 1


async def test_a_broken_shadow_is_refused_and_the_one_before_goes_on(swapping: Swapping, shelf: Shelf) -> None:
    await swapping.cast_shadow(Path("/bundles/second"), 0.5)
    with pytest.raises(BundleInvalid):
        await swapping.cast_shadow(Path("/bundles/broken"), 0.5)
    assert not shelf.made["second"].is_closed
    await swapping.cast_shadow(Path("/bundles/third"), 0.5)
    assert shelf.made["second"].is_closed


# The admin port and the command, on real bundles.


@pytest.fixture(scope="module")
def bundles_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles")
    tiny.write(folder / "1")
    tiny.write(folder / "2", version="2")
    (tiny.write(folder / "broken") / "tokenizer.json").write_text("{}")
    return folder


@pytest.fixture
async def served(bundles_folder: Path, config: Config, metrics: Metrics) -> AsyncIterator[Ports]:
    model = ModelSection(bundle=bundles_folder / "1")
    gateway = await assembly.build(config.model_copy(update={"model": model, "knowledge": NOTHING}))
    server = Server(gateway, config, metrics, gateway)
    yield await server.start()
    await server.stop()
    await gateway.close()


NOTHING = KnowledgeSection(collections={})


JSON = {"Content-Type": "application/json"}


def run(*arguments: str) -> Any:
    return CliRunner().invoke(cli, ["swap", *arguments])


async def test_the_command_swaps_and_goes_back(served: Ports, bundles_folder: Path) -> None:
    admin = f"127.0.0.1:{served.admin}"
    done = await asyncio.to_thread(run, str(bundles_folder / "2"), "--admin", admin, "--json")
    assert (done.exit_code, json.loads(done.stdout)["bundle"]) == (0, "tiny/2")
    back = await asyncio.to_thread(run, "--back", "--admin", admin)
    assert back.stdout.startswith("tiny/1 (")


async def test_a_changed_bundle_is_refused_with_what_is_wrong(served: Ports, bundles_folder: Path) -> None:
    admin = f"127.0.0.1:{served.admin}"
    done = await asyncio.to_thread(run, str(bundles_folder / "broken"), "--admin", admin)
    assert (done.exit_code, "tokenizer.json was changed" in done.stderr) == (4, True)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{served.grpc}") as channel:
        await channel.channel_ready()


@pytest.mark.parametrize(
    ("body", "kind", "code"),
    [
        (b'{"back": true}', "text/plain", 415),
        (b"{", "application/json", 400),
        (b"[]", "application/json", 400),
        (b'{"folder": "x", "back": true}', "application/json", 400),
        (b'{"folder": "/nowhere"}', "application/json", 422),
        (b'{"back": true}', "application/json", 422),
        (b'{"folder": "/a\\u0000b"}', "application/json", 400),
        (b'{"back": true}', "application/json; charset=none-such", 400),
    ],
)
async def test_the_admin_port_says_what_it_cannot_do(served: Ports, body: bytes, kind: str, code: int) -> None:
    assert await posted(served, "/bundle", body, {"Content-Type": kind}) == code


async def posted(served: Ports, path: str, body: bytes, headers: Mapping[str, str] | None = None) -> int:
    def post() -> int:
        url = f"http://127.0.0.1:{served.admin}{path}"
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(urllib.request.Request(url, body, dict(headers or JSON)), timeout=30)
        with caught.value:
            assert json.load(caught.value)["error"]
            return caught.value.code

    return await asyncio.to_thread(post)


@pytest.mark.parametrize("path", ["/bundle", "/shadow", "/drift"])
@pytest.mark.parametrize(
    "said", [{"Origin": "http://evil.example:9464"}, {"Origin": "null"}, {"Sec-Fetch-Site": "same-origin"}]
)
async def test_pages_in_a_browser_change_nothing(
    served: Ports, bundles_folder: Path, path: str, said: dict[str, str]
) -> None:
    """Not even of an origin that calls itself by this port's address."""
    body = json.dumps({"folder": str(bundles_folder / "2"), "share": 1, "reset": True}).encode()
    assert await posted(served, path, body, JSON | said) == 403


async def test_browsers_that_ask_first_hear_no_yes(served: Ports) -> None:
    asks = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    url = f"http://127.0.0.1:{served.admin}/bundle"
    async with aiohttp.ClientSession() as session, session.options(url, headers=asks) as response:
        assert response.status == 405
        assert not any(header.startswith("Access-Control") for header in response.headers)


@pytest.mark.parametrize("path", ["/bundle/prepare", "/bundle/switch", "/bundle/discard"])
async def test_the_steps_of_a_worker_are_not_taken_alone(served: Ports, path: str) -> None:
    url = f"http://127.0.0.1:{served.admin}{path}"
    async with aiohttp.ClientSession() as session, session.post(url, json={"folder": "/x"}) as response:
        assert response.status == 404


async def test_a_server_that_ends_waits_for_no_load(
    bundles_folder: Path, config: Config, metrics: Metrics, shelf: Shelf
) -> None:
    swapping = Swapping(Named("first"), Path("/bundles/first"), shelf, shelf.observe, gently=False)
    server = Server(swapping, config, metrics, swapping)
    ports = await server.start()
    shelf.gate.clear()
    swap = asyncio.create_task(posted(ports, "/bundle", b'{"folder": "/bundles/second"}'))
    await begun(shelf)
    await server.drain()
    assert await swap == 503
    assert await posted(ports, "/bundle", b'{"folder": "/bundles/third"}') == 503
    await server.stop()
    shelf.gate.set()
    await swapping.close()
    assert shelf.made["second"].is_closed


async def test_an_abandoned_server_waits_for_no_load(config: Config, metrics: Metrics, shelf: Shelf) -> None:
    """Which is stopped without a drain."""
    swapping = Swapping(Named("first"), Path("/bundles/first"), shelf, shelf.observe, gently=False)
    server = Server(swapping, config, metrics, swapping)
    ports = await server.start()
    shelf.gate.clear()
    swap = asyncio.create_task(posted(ports, "/shadow", b'{"folder": "/bundles/second", "share": 1}'))
    await begun(shelf)
    await server.stop()
    assert await swap == 503
    shelf.gate.set()
    await swapping.close()


async def test_a_stalled_client_holds_up_no_end(config: Config, metrics: Metrics) -> None:
    server = Server(FakeGateway(), config, metrics, Swapping(Named("x"), Path("/x"), Shelf(), Shelf().observe))
    ports = await server.start()
    _, writer = await asyncio.open_connection("127.0.0.1", ports.admin)
    writer.write(b"POST /bundle HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{")
    await writer.drain()
    await asyncio.wait_for(server.stop(), 30)  # with aiohttp's own patience it takes a minute
    writer.close()


def test_no_proxy_is_asked(bundles_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever listens there, nobody is told of our folders."""
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        proxy.settimeout(0.2)
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.getsockname()[1]}")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        done = run(str(bundles_folder / "2"), "--admin", "127.0.0.1:1", "--timeout", "1")
        assert (done.exit_code, "refused" in done.stderr) == (3, True)
        with pytest.raises(TimeoutError):
            proxy.accept()


def test_who_does_not_answer_may_be_loading_still(bundles_folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        done = run(str(bundles_folder / "2"), "--admin", f"127.0.0.1:{silent.getsockname()[1]}", "--timeout", "0.2")
    assert done.exit_code == 3
    assert "no answer within 0.2 s; it may be loading still" in done.stderr


async def test_another_port_than_admin_s_is_said(served: Ports, bundles_folder: Path) -> None:
    done = await asyncio.to_thread(run, str(bundles_folder / "2"), "--admin", f"127.0.0.1:{served.grpc}")
    assert (done.exit_code, "what answers there is no admin port" in done.stderr) == (3, True)


async def test_there_is_no_way_back_to_a_folder_that_was_written_anew(served: Ports, tmp_path: Path) -> None:
    admin = f"127.0.0.1:{served.admin}"
    for version in ("3", "4"):
        tiny.write(tmp_path / version, version=version)
        done = await asyncio.to_thread(run, str(tmp_path / version), "--admin", admin)
        assert done.exit_code == 0
    (tmp_path / "3" / "manifest.json").write_text((tmp_path / "3" / "manifest.json").read_text() + "\n")
    done = await asyncio.to_thread(run, "--back", "--admin", admin)
    assert (done.exit_code, "3: is not what was served before" in done.stderr) == (4, True)
    again = await asyncio.to_thread(run, str(tmp_path / "4"), "--admin", admin)
    assert again.stdout.startswith("tiny/4 (")


async def test_a_candidate_remembers_no_answers(bundles_folder: Path, config: Config) -> None:
    """Else its latency and its agreement would be those of a table."""
    sections = {
        "model": ModelSection(bundle=bundles_folder / "1"),
        "knowledge": NOTHING,
        "cascade": CascadeSection(cached_answers=10),
    }
    gateway = await assembly.build(config.model_copy(update=sections))
    try:
        await gateway.cast_shadow(bundles_folder / "2", 1.0)
        await gateway.prepare(bundles_folder / "2")
        assert gateway._shadow is not None
        assert gateway._prepared is not None
        candidate, following = gateway._shadow.candidate, gateway._prepared.gateway
        assert isinstance(candidate, Assembled)
        assert isinstance(following, Assembled)
        assert candidate._cache is None
        assert following._cache is not None
    finally:
        await gateway.close()


def test_nobody_there_is_said(bundles_folder: Path) -> None:
    done = run(str(bundles_folder / "2"), "--admin", "127.0.0.1:1")
    assert (done.exit_code, "is a gateway running" in done.stderr) == (3, True)


def test_one_of_both_must_be_named() -> None:
    assert run().exit_code == run("/tmp", "--back").exit_code == 2
