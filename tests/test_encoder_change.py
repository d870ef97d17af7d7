"""Another encoder for what is stored: one record of the log switches all who follow it, and back the same way."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from gateway import assembly
from gateway.deadline import Deadline
from gateway.errors import StoreFull
from gateway.forge import graph
from gateway.knowledge.changes import EVERYWHERE, Batch, Create, Put, Switch, Switched
from gateway.knowledge.store import Store
from gateway.knowledge.verifying import verify
from gateway.knowledge.watching import Watching
from gateway.model.engine import Engine
from gateway.swapping import Swapping
from gateway.types import Document, Principal, Question
from tests import tiny
from tests.test_editing import config
from tests.test_watching import told

PLACE = ("default", "help")
SOON = Deadline.after(60)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write(tmp_path_factory.mktemp("bundles") / "1")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another encoder."""
    whole = graph.merge(tiny.weights(1), tiny.SHAPE.num_hidden_layers)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny, "merged", lambda: whole)
        return tiny.write(tmp_path_factory.mktemp("bundles") / "2", version="2")


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Texts that any encoder embeds from now on, but questions."""
    texts: list[str] = []
    embed, embed_soon = Engine.embed, Engine.embed_soon

    def noted(self: Engine, some: Sequence[str], *more: Any) -> Any:
        texts.extend(some)
        return embed(self, some, *more)

    async def noted_soon(self: Engine, some: Sequence[str]) -> Any:
        texts.extend(some)
        return await embed_soon(self, some)

    monkeypatch.setattr(Engine, "embed", noted)
    monkeypatch.setattr(Engine, "embed_soon", noted_soon)
    return texts


Opened = Callable[[Path], Awaitable[Swapping]]


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[Opened]:
    """Opens gateways on one store, each as a process has it."""
    gateways: list[Swapping] = []

    async def opening(bundle: Path) -> Swapping:
        gateways.append(await assembly.build(config(bundle, tmp_path / "data")))
        return gateways[-1]

    yield opening
    for gateway in gateways:
        await gateway.close()


def document(name: str, text: str = "word1 word2") -> Document:
    return Document(name, f"Title of {name}", "", "", text, f"{text}\n\nword3")


async def put(gateway: Swapping, *names: str) -> None:
    await gateway.write(PLACE, [Put(document(name)) for name in names])


async def found(gateway: Swapping) -> tuple[str, list[str]]:
    """The bundle that answers, and the documents that it finds."""
    await gateway.follow()
    answer = await gateway.answer(Question("word1 word2", "default/help"), SOON)
    evidence = await gateway.search("word1 word2", "default/help", Principal(), 50, SOON)
    return answer.bundle, sorted(hit.document.id for hit in evidence.hits)


def sha(gateway: Swapping) -> str:
    return gateway.describe().bundle_sha256


# -- the record -------------------------------------------------------------------------------------------------------


async def test_a_swap_is_a_record_and_so_is_the_way_back(opened: Opened, bundle: Path, other: Path) -> None:
    gateway = await opened(bundle)
    await gateway.write(PLACE, [Create(), Put(document("a"))])
    assert gateway.store.switched() is None
    names = {}
    for version, folder in ((3, other), (4, bundle)):
        await gateway.swap(folder)
        now = gateway.store.switched()
        assert now is not None
        names[folder] = now.encoder
        assert (now.bundle, now.version, now.encoder.startswith(sha(gateway))) == (f"tiny/{folder.name}", version, True)
        assert gateway.version("default/help") == version
    await gateway.roll_back()
    assert [(one.op, one.document_id) for one in gateway.store.changes(2)] == [
        ("encoder", names[one]) for one in (other, bundle, other)
    ]
    assert list(verify(gateway.store, lambda done, of: None)) == []


async def test_another_bundle_with_the_same_encoder_is_no_record(
    opened: Opened, bundle: Path, tmp_path: Path, embedded: list[str]
) -> None:
    gateway = await opened(bundle)
    await gateway.swap(bundle)
    last = gateway.store.last()
    assert (await gateway.swap(tiny.write(tmp_path / "3", version="3"))).bundle == "tiny/3"
    assert (gateway.store.last(), embedded) == (last, [])


async def test_the_way_back_embeds_nothing(opened: Opened, bundle: Path, other: Path, embedded: list[str]) -> None:
    gateway = await opened(bundle)
    await gateway.write(PLACE, [Create()])
    await put(gateway, *(f"d{at}" for at in range(9)))
    await gateway.swap(other)
    embedded.clear()
    await gateway.roll_back()
    assert (await found(gateway), embedded) == (("tiny/1", sorted(f"d{at}" for at in range(9))), [])
    await put(gateway, "new")
    embedded.clear()
    await gateway.roll_back()
    assert (await found(gateway))[1][-1] == "new"
    assert {text.partition(".")[0] for text in embedded} == {"Title of new"}  # what came meanwhile


@pytest.mark.parametrize("is_told", [False, True])
async def test_who_has_it_prepared_follows_the_record(opened: Opened, bundle: Path, other: Path, is_told: bool) -> None:
    """Two workers, of which the second may be told by its supervisor too, before or after it has asked the log."""
    first, second = await opened(bundle), await opened(bundle)
    await first.write(PLACE, [Create(), Put(document("a"))])
    for gateway in (first, second):
        await gateway.prepare(other)
    await put(first, "b")
    assert await found(second) == ("tiny/1", ["a", "b"])
    await first.switch(other)
    if is_told:
        assert (await second.switch(other)).bundle == "tiny/2"
    assert await found(second) == await found(first) == ("tiny/2", ["a", "b"])
    if not is_told:
        assert (await second.switch(other)).bundle == "tiny/2"
    assert [one.op for one in first.store.changes(0)].count("encoder") == 1
    await second.swap(bundle)  # to which the first has nothing prepared
    assert (await found(first), await found(second)) == (("tiny/2", ["a", "b"]), ("tiny/1", ["a", "b"]))


async def test_what_is_prepared_waits_for_a_record_that_comes_after_it(
    opened: Opened, bundle: Path, other: Path
) -> None:
    first = await opened(bundle)
    await first.write(PLACE, [Create(), Put(document("a"))])
    await first.swap(other)
    second = await opened(bundle)
    await second.prepare(other)
    assert await found(second) == ("tiny/1", ["a"])


async def test_where_the_record_cannot_be_written_nothing_is_switched(
    opened: Opened, bundle: Path, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = await opened(bundle)
    await gateway.write(PLACE, [Create(), Put(document("a"))])

    async def full(self: Store, batch: Batch) -> None:
        raise StoreFull("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(Store, "write", full)
        with pytest.raises(StoreFull):
            await gateway.swap(other)
    assert (await found(gateway), gateway.store.switched()) == (("tiny/1", ["a"]), None)
    await gateway.swap(other)
    assert (await found(gateway))[0] == "tiny/2"


async def test_a_start_follows_its_settings_and_says_what_the_store_was_switched_to(
    opened: Opened, bundle: Path, other: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    first = await opened(bundle)
    await first.write(PLACE, [Create(), Put(document("a"))])
    await first.swap(other)
    assert not caplog.messages
    second = await opened(bundle)
    (said,) = caplog.messages
    assert f"switched to the encoder of tiny/2 ({sha(first)[:12]}) by change 3, and are searched here by that" in said
    stored = [one.describe().stored for one in (first, second)]
    assert [one and one.is_encoder_current for one in stored] == [True, False]
    assert await found(second) == ("tiny/1", ["a"])
    caplog.clear()
    await opened(other)
    assert not caplog.messages


async def test_who_has_nothing_prepared_says_so_once_and_goes_on(
    opened: Opened, bundle: Path, other: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = await opened(bundle), await opened(bundle)
    await first.write(PLACE, [Create(), Put(document("a"))])
    await first.swap(other)
    for _ in range(2):
        assert await found(second) == ("tiny/1", ["a"])
    assert caplog.text.count("were switched to the encoder of tiny/2") == 1


async def test_watchers_of_every_collection_are_told(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for place in (("acme", "help"), ("other", "help")):
        await store.write(Batch(*place, (Create(),)))
    for name in ("maxi", "maxi", "mini"):
        await store.write(Batch(*EVERYWHERE, (Switch(name, "tiny/1"),)))
    assert await told(store, Principal("acme")) == [("encoder", "", 3), ("encoder", "", 4), ("seen", "", 4)]
    one = await anext(Watching(store).changes(("acme", "help"), Principal("acme"), 3))
    assert (one.op, one.encoder) == ("encoder", "mini")
    assert store.switched() == Switched("mini", "tiny/1", 4)
    store.close()


async def test_a_record_that_is_not_what_the_log_says_is_found(tmp_path: Path) -> None:
    store = Store(tmp_path)
    await store.write(Batch(*EVERYWHERE, (Switch("maxi", "tiny/1"),)))
    assert list(verify(store, lambda done, of: None)) == []
    store._writing.execute("DELETE FROM meta WHERE name = 'encoder'")
    assert list(verify(store, lambda done, of: None)) == [
        "searches go by the encoder and change None, by the log it is ('maxi', 1)"
    ]
    store.close()
