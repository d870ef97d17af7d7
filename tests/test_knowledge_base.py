"""Stored collections in memory: in step with the disk, whoever writes and whatever embeds."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from gateway import failpoints
from gateway.errors import InferenceFailed, InvalidQuestion, StoreFailed, UnknownCollection, VersionConflict
from gateway.knowledge import encoder
from gateway.knowledge.base import KnowledgeBase, key
from gateway.knowledge.changes import Change, Create, Drop, Put, Remove
from gateway.knowledge.encoder import Encoder
from gateway.knowledge.generation import Generation
from gateway.knowledge.library import Library
from gateway.knowledge.segment import Entry
from gateway.knowledge.store import Store
from gateway.knowledge.turns import Known
from gateway.types import Document, Matrix, Principal
from tests.test_generation import NOBODY, STAFF, document, embed, query

PLACE = ("acme", "help")
DIM = 9


class Desk:
    """One process's view of a store, by an encoder that counts what it embeds."""

    def __init__(self, folder: Path, encoder: str = "mini") -> None:
        self.store = Store(folder)
        self.library = Library({})
        self.embedded: list[str] = []
        self.is_broken = False
        self.factor = 1.0
        self.base = KnowledgeBase(self.store, [self.library], Encoder(encoder, DIM, self._embed, self._embed_soon))
        try:
            self.base.load()
        except BaseException:
            self.store.close()
            raise

    def _embed(self, texts: Sequence[str]) -> Matrix:
        if self.is_broken:
            raise InferenceFailed("broken")
        self.embedded += texts
        return np.asarray(self.factor * embed(texts), np.float32)

    async def _embed_soon(self, texts: Sequence[str]) -> Matrix:
        await asyncio.sleep(0)
        return self._embed(texts)

    async def write(self, *changes: Change) -> tuple[int, ...]:
        return (await self.base.write(PLACE, changes)).versions

    def found(self, text: str = "card", principal: Principal = STAFF) -> list[str]:
        return [one for one, _ in self.library.rank(key(*PLACE), query(text), principal, 99).documents]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    desk.store.close()


async def test_what_is_acknowledged_is_found_by_the_next_question(desk: Desk) -> None:
    await desk.write(Create())
    for at in range(300):
        await desk.write(Put(document(f"d{at}", "card")))
        assert f"d{at}" in dict.fromkeys(one.id for one in desk.library.generation(key(*PLACE)).documents)
        if at % 3 == 0:
            await desk.write(Remove(f"d{at}"))
            assert desk.library.generation(key(*PLACE)).find(f"d{at}") is None
    assert desk.library.generation(key(*PLACE)).counts()[0] == 200


async def test_rights_that_are_taken_away_are_gone_at_once(desk: Desk) -> None:
    await desk.write(Create(), Put(document("a", "card")))
    assert desk.found(principal=NOBODY) == ["a"]
    await desk.write(Put(document("a", "card", is_secret=True)))
    assert (desk.found(principal=NOBODY), desk.found(principal=STAFF)) == ([], ["a"])


async def test_a_restart_finds_everything_and_embeds_nothing(desk: Desk, tmp_path: Path) -> None:
    await desk.write(Create(), Put(document("a", "card")), Put(document("b", "fee")))
    await desk.write(Put(document("b", "tax")), Remove("a"))
    again = Desk(tmp_path)
    assert (again.found("tax"), again.embedded, again.base.version) == (["b"], [], desk.base.version)
    again.store.close()


async def test_another_encoder_embeds_what_is_stored_anew(desk: Desk, tmp_path: Path) -> None:
    await desk.write(Create(), Put(document("a", "card")))
    other = Desk(tmp_path, "maxi")
    assert (other.found(), len(other.embedded)) == (["a"], 3)
    await desk.write(Put(document("b", "card")))
    await other.base.follow()
    assert (sorted(other.found()), len(other.embedded)) == (["a", "b"], 6)
    other.store.close()


async def test_what_another_process_writes_is_seen_when_asked_for(desk: Desk, tmp_path: Path) -> None:
    other = Desk(tmp_path)
    await desk.write(Create(), Put(document("a", "card")))
    with pytest.raises(UnknownCollection):
        other.found()
    await other.base.follow()
    assert (other.found(), other.embedded) == (["a"], [])
    await other.write(Put(document("b", "card")))
    await desk.base.follow()
    assert sorted(desk.found()) == ["a", "b"]
    await other.write(Drop())
    await desk.base.follow()
    with pytest.raises(UnknownCollection):
        desk.found()
    other.store.close()


async def test_a_collection_that_is_begun_again_is_empty(desk: Desk) -> None:
    await desk.write(Create(), Put(document("a", "card")))
    await desk.write(Drop(), Create(), Put(document("b", "fee")))
    assert desk.found() == ["b"]


async def test_a_batch_that_is_refused_shows_nothing(desk: Desk) -> None:
    await desk.write(Create(), Put(document("a", "card")))
    with pytest.raises(VersionConflict):
        await desk.write(Put(document("b", "card")), Put(document("a", "fee"), expected=0))
    assert desk.found() == ["a"]


async def test_a_document_without_a_word_is_refused(desk: Desk) -> None:
    await desk.write(Create())
    bare = document("a", "**")
    with pytest.raises(InvalidQuestion, match=r"^documents\[0\]: has no text"):
        await desk.write(Put(type(bare)(bare.id, bare.title, "", "", "**", "**\n")))
    assert desk.store.last() == 1


@pytest.fixture
def aheads(monkeypatch: pytest.MonkeyPatch) -> list[Known]:
    """What was made while the disk was at work."""
    made: list[Known] = []
    ahead = Known.ahead

    def noted(entries: Mapping[int, Entry], before: Generation) -> Known:
        made.append(ahead(entries, before))
        return made[-1]

    monkeypatch.setattr(Known, "ahead", noted)
    return made


async def test_what_is_shown_is_made_while_the_disk_is_at_work(desk: Desk, aheads: list[Known]) -> None:
    await desk.write(Create())
    for at in range(3):
        await desk.write(Put(document(f"d{at % 2}", "card")))
        assert desk.library.generation(key(*PLACE)) is aheads[at].after
    await desk.write(Put(document("d2", "card")), Remove("d0"))  # more than documents: it is made afterwards
    assert len(aheads) == 3
    assert sorted(desk.found()) == ["d1", "d2"]


async def test_what_the_disk_did_not_take_is_not_shown(
    desk: Desk, aheads: list[Known], monkeypatch: pytest.MonkeyPatch
) -> None:
    await desk.write(Create(), Put(document("d0", "card")))

    def full(name: str) -> None:
        if name == "before-commit":
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(failpoints, "reached", full)
    with pytest.raises(StoreFailed):
        await desk.write(Put(document("d1", "card")))
    assert len(aheads) == 1
    assert desk.found() == ["d0"]
    monkeypatch.undo()
    await desk.write(Put(document("d2", "card")))  # by the same number
    assert desk.found() == ["d0", "d2"]


async def test_writers_at_once_are_all_shown(desk: Desk) -> None:
    await desk.write(Create())
    await asyncio.gather(*(desk.write(Put(document(f"d{at % 40}", "card"))) for at in range(120)))
    assert sorted(desk.found()) == sorted(f"d{at}" for at in range(40))
    stored = {one.document.id: one.document for one in desk.store.documents(*PLACE)}
    assert {one.id: one for one in desk.library.generation(key(*PLACE)).documents} == stored


async def test_segments_are_merged_beside_writes(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.knowledge.generation.OPEN_ROWS", 4)
    await desk.write(Create())
    for at in range(120):
        await desk.write(Put(document(f"d{at % 50}", "card")))
        await asyncio.sleep(0.001)
    await asyncio.gather(*desk.base.merging)
    generation = desk.library.generation(key(*PLACE))
    assert len(generation.parts) < 30
    assert sorted(one.id for one in generation.documents) == sorted(f"d{at}" for at in range(50))
    assert np.isfinite([score for _, score in desk.library.rank(key(*PLACE), query("card"), STAFF, 99).documents]).all()
    await desk.base.close()


async def test_a_write_that_comes_after_its_collection_was_dropped_holds_up_nobody(desk: Desk) -> None:
    await desk.write(Create())
    writing = asyncio.create_task(desk.write(Put(document("a", "card"))))
    dropping = asyncio.create_task(desk.base.write(PLACE, [Drop()]))
    outcomes = await asyncio.gather(writing, dropping, return_exceptions=True)
    assert any(isinstance(one, UnknownCollection) for one in outcomes) or desk.store.last() == 3
    other = ("other", "help")
    await desk.base.write(other, [Create(), Put(document("b", "fee"))])
    assert desk.library.generation(key(*other)).find("b") is not None


async def test_vectors_that_are_no_unit_vectors_are_not_written(desk: Desk) -> None:
    await desk.write(Create(), Put(document("a", "card")))
    last = desk.store.last()
    for wrong in (0.5, np.nan):
        desk.factor = wrong
        with pytest.raises(InferenceFailed, match="not of unit length"):
            await desk.write(Put(document("b", "card")))
    desk.factor = 1.0
    assert desk.store.last() == last
    await desk.write(Put(document("c", "card")))
    assert sorted(desk.found()) == ["a", "c"]


async def test_what_cannot_be_embedded_yet_is_masked_and_holds_up_nothing(desk: Desk, tmp_path: Path) -> None:
    await desk.write(Create(), Put(document("a", "card")), Put(document("b", "card")))
    other = Desk(tmp_path, "maxi")
    other.is_broken = True
    await desk.write(Put(document("a", "card", is_secret=True)), Remove("b"))
    await desk.write(Put(document("c", "card")))
    await other.base.follow()
    assert other.found() == []  # neither what was, nor what is not embedded yet
    assert (other.base.seen(PLACE), desk.base.seen(PLACE)) == (3, 6)  # and is not said to see it
    assert other.base.seen(("other", "help")) == 6
    other.is_broken = False
    await desk.write(Put(document("d", "card")))
    await other.base.follow()
    assert (sorted(other.found()), other.found(principal=NOBODY).count("a")) == (["a", "c", "d"], 0)
    other.store.close()


async def test_a_question_that_leaves_does_not_stop_a_catching_up(desk: Desk, tmp_path: Path) -> None:
    other = Desk(tmp_path, "maxi")
    await desk.write(Create(), Put(document("a", "card")))
    leaving = asyncio.create_task(other.base.follow())
    await asyncio.sleep(0)
    leaving.cancel()
    await other.base.follow()
    assert other.found() == ["a"]
    other.store.close()


async def test_what_another_encoder_has_embedded_once_is_kept(desk: Desk, tmp_path: Path) -> None:
    await desk.write(Create(), Put(document("a", "card")))
    for embedded in (3, 0):
        other = Desk(tmp_path, "maxi")
        assert (len(other.embedded), other.found()) == (embedded, ["a"])
        other.store.close()


async def test_large_segments_get_a_graph_after_the_start(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.knowledge.merges.GRAPH_FROM", 10)
    monkeypatch.setattr("gateway.knowledge.generation.OPEN_ROWS", 8)
    await desk.write(Create(), *(Put(document(f"d{at}", "card")) for at in range(20)))
    desk.base.start()
    await asyncio.gather(*desk.base.merging)
    assert sorted(desk.found()) == sorted(f"d{at}" for at in range(20))
    assert not desk.library.generation(key(*PLACE)).parts[0].segment.index.is_exact
    await desk.base.close()


async def test_a_merge_that_fails_is_said_and_tried_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("gateway.knowledge.merges.GRAPH_FROM", 10)
    monkeypatch.setattr("gateway.knowledge.generation.OPEN_ROWS", 8)
    with monkeypatch.context() as broken:
        broken.setattr("gateway.knowledge.merges.VectorIndex", lambda *_: 1 / 0)
        await desk.write(Create(), *(Put(document(f"d{at}", "card")) for at in range(20)))
        await asyncio.gather(*desk.base.merging)
    assert "could not be merged" in caplog.text
    assert len(desk.found()) == 20
    desk.base.start()
    await asyncio.gather(*desk.base.merging)
    assert not desk.library.generation(key(*PLACE)).parts[0].segment.index.is_exact
    await desk.base.close()


async def test_long_documents_are_divided_in_a_thread(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder, "LONG", 40)
    threads: list[bool] = []
    read = encoder._read

    def noted(documents: Sequence[Document], language: str) -> object:
        threads.append(threading.current_thread() is threading.main_thread())
        return read(documents, language)

    monkeypatch.setattr(encoder, "_read", noted)
    await desk.write(Create(), Put(document("a", "card")))
    await desk.write(Put(document("b", "card fee " * 9)))
    assert (threads, sorted(desk.found())) == ([True, False], ["a", "b"])


async def test_when_the_last_change_was_written_is_known_after_a_start_too(desk: Desk, tmp_path: Path) -> None:
    assert desk.base.figures().written == 0.0
    for change in (Create(), Put(document("a", "card"))):
        before = time.time()
        await desk.write(change)
        assert before <= desk.base.figures().written <= time.time()
    later = Desk(tmp_path)
    assert later.base.figures().written == desk.base.figures().written
    later.store.close()


async def test_where_the_disk_is_lost_what_was_seen_is_served(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await desk.write(Create(), Put(document("a", "card")))

    def lost() -> int:
        raise StoreFailed("disk I/O error")

    with monkeypatch.context() as broken:
        broken.setattr(desk.store, "stamp", lost)
        for _ in range(2):
            await desk.base.follow()
        assert (desk.found(), desk.base.figures().documents) == (["a"], 1)
        assert caplog.text.count("cannot be read") == 1
    await desk.base.follow()


async def test_what_another_encoder_wrote_and_is_gone_is_not_waited_for(desk: Desk, tmp_path: Path) -> None:
    other = Desk(tmp_path, "maxi")
    await desk.write(Create(), Put(document("a", "card")))
    other.is_broken = True
    await other.base.follow()
    assert other.base.seen(PLACE) < other.base.version
    await desk.write(Remove("a"))
    await other.base.follow()
    assert other.base.seen(PLACE) == other.base.version
    other.store.close()
