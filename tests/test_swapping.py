"""Swapping bundles: who answers before, during and after, what is refused, and the way back."""

from __future__ import annotations

import asyncio
import json
import threading
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from click.testing import CliRunner

from gateway import assembly
from gateway.cli.main import cli
from gateway.config import Config, KnowledgeSection, ModelSection
from gateway.deadline import Deadline
from gateway.errors import BundleInvalid, Unavailable
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

    def start(self) -> None:
        self.is_started = True

    async def _named(self, question: Question, deadline: Deadline) -> Answer:
        await self.gate.wait()
        return replace(ANSWER, bundle=self.name)

    def describe(self) -> Description:
        return replace(super().describe(), bundle=self.name)


class Shelf:
    """Loads from folders by name. A folder called `broken` does not load, one called `poor` lacks a collection."""

    def __init__(self) -> None:
        self.made: dict[str, Named] = {}
        self.agreements: list[Agreement] = []
        self.gate = threading.Event()
        self.gate.set()

    def observe(self, agreement: Agreement, seconds: float) -> None:
        self.agreements.append(agreement)

    def __call__(self, folder: Path) -> Named:
        self.gate.wait(10)
        if folder.name == "broken":
            raise BundleInvalid(f"{folder}: broken")
        made = self.made[folder.name] = Poor("poor") if folder.name == "poor" else Named(folder.name)
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
async def test_what_is_not_fit_never_serves(swapping: Swapping, folder: str, problem: str) -> None:
    with pytest.raises(BundleInvalid, match=problem):
        await swapping.swap(Path("/bundles") / folder)
    assert await who(swapping) == "first"
    await swapping.swap(Path("/bundles/second"))
    assert await who(swapping) == "second"


async def test_the_way_back(swapping: Swapping) -> None:
    with pytest.raises(BundleInvalid, match="no other bundle"):
        await swapping.roll_back()
    await swapping.swap(Path("/bundles/second"))
    assert (await swapping.roll_back()).bundle == "first"
    assert (await swapping.roll_back()).bundle == "second"


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
    ],
)
async def test_the_admin_port_says_what_it_cannot_do(served: Ports, body: bytes, kind: str, code: int) -> None:
    def post() -> int:
        url = f"http://127.0.0.1:{served.admin}/bundle"
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(urllib.request.Request(url, body, {"Content-Type": kind}), timeout=30)
        with caught.value:
            return caught.value.code

    assert await asyncio.to_thread(post) == code


def test_nobody_there_is_said(bundles_folder: Path) -> None:
    done = run(str(bundles_folder / "2"), "--admin", "127.0.0.1:1")
    assert (done.exit_code, "is a gateway running" in done.stderr) == (3, True)


def test_one_of_both_must_be_named() -> None:
    assert run().exit_code == run("/tmp", "--back").exit_code == 2
