"""An import: what it writes and leaves alone, how it divides its calls, and what it does where one fails."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway import assembly
from gateway.cli.importing import CHARACTERS, PAUSES, SLOW, TOGETHER, Change, Import, batches
from gateway.cli.main import cli
from gateway.client import CallFailed
from gateway.client.editor import Editor, Kept, Written
from gateway.knowledge.reading.drafts import Bad, Found, Where
from gateway.rpc.server import Server
from gateway.telemetry.metrics import Metrics
from gateway.types import Document, Principal
from tests import tiny
from tests.test_editing import config

WHERE = Where(Path("a.jsonl"), 7)


def document(name: str, answer: str = "word1.", *groups: str) -> Document:
    return Document(name, "Title", "", "", answer, f"{answer}\n\n\n", frozenset(groups))


def found(*documents: Document) -> list[Found | Bad]:
    return [Found(Where(Path("a.jsonl"), at), one) for at, one in enumerate(documents, 1)]


@dataclass
class Store:
    """What is kept, and which of the documents make a call fail, and how."""

    kept: dict[str, Kept] = field(default_factory=dict)
    fail: dict[str, CallFailed] = field(default_factory=dict)
    refusals: list[CallFailed] = field(default_factory=list)
    calls: list[list[str]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    gets: int = 0
    has_hashes: bool = True

    def upsert(
        self,
        collection: str,
        documents: Sequence[Document],
        *,
        expected: Sequence[int | None] = (),
        idempotency_key: str = "",
    ) -> Written:
        self.calls.append([one.id for one in documents])
        self.keys.append(idempotency_key)
        if self.refusals:
            raise self.refusals.pop(0)
        for one, version in zip(documents, expected, strict=True):
            if one.id in self.fail:
                raise self.fail[one.id]
            now = self.kept[one.id].version if one.id in self.kept else 0
            if version != now:
                raise CallFailed("ABORTED", f"{one.id} is at version {now}, and the change expects {version}")
        for one in documents:
            self.put(one)
        return Written(len(self.kept), (), False)

    def put(self, one: Document) -> None:
        version = self.kept[one.id].version + 1 if one.id in self.kept else 1
        self.kept[one.id] = Kept(one, version, content_hash=one.content_hash)

    def get(self, collection: str, document_id: str, version: int = 0) -> Kept:
        self.gets += 1
        if document_id not in self.kept:
            raise CallFailed("NOT_FOUND", "no such document")
        return self.kept[document_id]

    def list(self, collection: str) -> Iterator[Kept]:
        for one in self.kept.values():
            bare = replace(one.document, text=f"{one.document.answer}\n\n\n")
            yield replace(one, document=bare, content_hash=one.content_hash if self.has_hashes else "")


def imported(store: Store, read: list[Found | Bad], **given: object) -> tuple[Import, list[str]]:
    told: list[str] = []
    doing = Import(store, "help", tell=lambda bad: told.append(str(bad)), pause=lambda seconds: None, **given)  # type: ignore[arg-type]
    doing.look()
    doing.run(read)
    return doing, told


def counts(doing: Import) -> tuple[int, int, int]:
    return doing.counts.written, doing.counts.unchanged, doing.counts.bad


@pytest.mark.parametrize("has_hashes", [True, False])
def test_what_is_there_as_it_was_read_is_left_alone(has_hashes: bool) -> None:
    store = Store(has_hashes=has_hashes)
    long = replace(document("a"), text="word1.\n\nBody.\n")
    assert counts(imported(store, found(long, document("b")))[0]) == (2, 0, 0)
    assert counts(imported(store, found(long, document("b")))[0]) == (0, 2, 0)
    assert store.gets == (0 if has_hashes else 2)
    for changed in (
        replace(long, text="word1.\n\nOther.\n"),
        replace(long, uri="u"),
        replace(long, updated="now"),
        replace(long, groups=frozenset({"staff"})),
        replace(long, title="Other"),
        replace(long, effective=60.0),
        replace(long, expires=60.0),
    ):
        assert counts(imported(store, found(changed))[0]) == (1, 0, 0)


def test_what_is_only_tried_writes_nothing() -> None:
    store = Store()
    assert counts(imported(store, found(document("a")), is_dry=True)[0]) == (1, 0, 0)
    assert not store.calls


def test_groups_are_given_to_what_names_none() -> None:
    store = Store()
    imported(store, found(document("a"), document("b", "word1.", "legal")), groups=frozenset({"staff"}))
    assert [store.kept[name].document.groups for name in "ab"] == [{"staff"}, {"legal"}]


def test_what_the_gateway_would_refuse_is_named_before_it_is_asked() -> None:
    bad = [document("a/b"), replace(document("c"), title=""), document("d", "word1.", "no group")]
    long = replace(document("e"), text="word1.\n\n" + "a" * 200_001)
    strange = replace(document("f"), title="\ud800")
    store = Store()
    doing, told = imported(store, [*found(*bad, long, strange, document("g")), Bad(WHERE, "is not JSON", count=2)])
    assert counts(doing) == (1, 0, 7)
    assert store.calls == [["g"]]
    assert told[0].startswith("a.jsonl:1: the gateway would refuse it: id: must be 1 to 128 letters")
    assert told[3] == "a.jsonl:4: the gateway would refuse it: body: has 200001 characters, limit 200000"
    assert told[-1] == "a.jsonl:7: is not JSON"


def test_calls_have_few_documents_and_little_text() -> None:
    small = [Change(Found(WHERE, document(str(at))), 0) for at in range(TOGETHER + 1)]
    assert [len(some) for some in batches(small)] == [TOGETHER, 1]
    large = replace(document("a"), text="a" * (CHARACTERS // 2))
    larger = replace(document("b"), text="a" * (CHARACTERS + 1))
    changes = [Change(Found(WHERE, one), 0) for one in (large, large, large, larger, large)]
    assert [len(some) for some in batches(changes)] == [2, 1, 1, 1]
    assert not list(batches([]))


def test_a_batch_is_written_before_the_next_is_read() -> None:
    store = Store()
    written = []

    def reading() -> Iterator[Found | Bad]:
        for at in range(3 * TOGETHER):
            written.append(len(store.kept))
            yield from found(document(str(at)))

    doing = Import(store, "help")
    doing.run(reading())
    assert max(at - there for at, there in enumerate(written)) <= TOGETHER


@pytest.mark.parametrize("code", ["DEADLINE_EXCEEDED", "INVALID_ARGUMENT"])
def test_one_that_fails_does_not_keep_out_the_others(code: str) -> None:
    store = Store(fail={"5": CallFailed(code, "no")})
    doing, told = imported(store, found(*(document(str(at)) for at in range(16))))
    assert counts(doing) == (15, 0, 1)
    assert len(told) == 1
    assert told[0].startswith("a.jsonl:6: ")
    assert len(store.calls) == 9
    assert len(set(store.keys)) == 9


def test_a_server_that_is_too_slow_for_all_ends_it() -> None:
    store = Store(fail={str(at): CallFailed("DEADLINE_EXCEEDED", "too late") for at in range(16)})
    with pytest.raises(CallFailed, match="too late"):
        imported(store, found(*(document(str(at)) for at in range(16))))
    assert sum(len(call) == 1 for call in store.calls) == SLOW


def test_what_was_done_though_nobody_heard_of_it_counts_as_written() -> None:
    class Late(Store):
        def upsert(self, collection: str, documents: Sequence[Document], **given: object) -> Written:
            written = super().upsert(collection, documents, **given)  # type: ignore[arg-type]
            if len(self.calls) == 1:
                raise CallFailed("DEADLINE_EXCEEDED", "too late")
            return written

    store = Late()
    doing, told = imported(store, found(document("a"), document("b")))
    assert (counts(doing), told) == ((2, 0, 0), [])
    assert [one.version for one in store.kept.values()] == [1, 1]


def test_a_change_by_somebody_else_is_not_written_over() -> None:
    store = Store(fail={"a": CallFailed("ABORTED", "a is at version 2, and the change expects 0")})
    doing, told = imported(store, found(document("a"), document("b")))
    assert counts(doing) == (1, 0, 1)
    assert "a is at version 2, and the change expects 0: somebody changed it meanwhile, or only groups" in told[0]


def test_a_refusal_for_lack_of_room_is_waited_out_under_the_same_key() -> None:
    full = CallFailed("RESOURCE_EXHAUSTED", "full", "OVERLOADED")
    store = Store(refusals=[full] * len(PAUSES))
    assert counts(imported(store, found(document("a")))[0]) == (1, 0, 0)
    assert len(set(store.keys)) == 1
    store = Store(refusals=[full] * (len(PAUSES) + 1))
    with pytest.raises(CallFailed, match="full"):
        imported(store, found(document("a")))


def test_a_server_that_is_not_there_ends_it() -> None:
    store = Store(refusals=[CallFailed("UNAVAILABLE", "nobody")])
    with pytest.raises(CallFailed, match="nobody"):
        imported(store, found(document("a")))
    assert len(store.calls) == 1


# -- against a gateway ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture
async def target(bundle: Path, tmp_path: Path) -> AsyncIterator[str]:
    settings = config(bundle, tmp_path / "data")
    gateway = await assembly.build(settings)
    server = Server(gateway, settings, Metrics(), gateway, edited=gateway)
    yield f"127.0.0.1:{(await server.start()).grpc}"
    await server.stop()
    await gateway.close()


async def run(target: str, *arguments: str) -> Result:
    whole = ["knowledge", *arguments, "--collection", "help", "--target", target]
    return await asyncio.to_thread(CliRunner().invoke, cli, whole)


def records(path: Path, *names: str, **more: object) -> str:
    given = [{"id": name, "title": "T", "answer": "word1.", "body": "word2.", **more} for name in names]
    path.write_text("".join(json.dumps(one) + "\n" for one in given))
    return str(path)


async def test_lists_tell_the_hash_of_what_they_leave_out(target: str, tmp_path: Path) -> None:
    path = records(tmp_path / "a.jsonl", *(f"d{at:03}" for at in range(150)))
    assert "150 written, 0 unchanged, 0 deleted, 0 not read" in (await run(target, "import", path)).output

    def listed() -> list[tuple[Kept, Kept]]:
        with Editor(target, Principal()) as editor:
            return [(one, editor.get("help", one.document.id)) for one in editor.list("help")]

    pairs = await asyncio.to_thread(listed)
    assert [one.document.id for one, _ in pairs] == [f"d{at:03}" for at in range(150)]
    assert all(one.content_hash == whole.content_hash == whole.document.content_hash for one, whole in pairs)
    assert "0 written, 150 unchanged, 0 deleted, 0 not read" in (await run(target, "import", path)).output


async def test_an_import_is_tried_first(target: str, tmp_path: Path) -> None:
    path = records(tmp_path / "a.jsonl", "a", "b")
    tried = await run(target, "import", path, "--dry-run")
    assert "2 written, 0 unchanged, 0 deleted, 0 not read (dry run: nothing was done)" in tried.output
    assert (await run(target, "export")).exit_code == 4
    assert "2 written" in (await run(target, "import", path)).output
    records(tmp_path / "a.jsonl", "a")
    tried = await run(target, "import", path, "--dry-run", "--prune")
    assert "0 written, 1 unchanged, 1 deleted, 0 not read (dry run" in tried.output
    assert len((await run(target, "export")).stdout.splitlines()) == 2


async def test_what_is_exported_goes_in_again(target: str, tmp_path: Path) -> None:
    path = records(tmp_path / "a.jsonl", "a", "b", groups=["staff"])
    assert "2 written" in (await run(target, "import", path, "--group", "staff")).output
    (tmp_path / "b.jsonl").write_text((await run(target, "export", "--group", "staff")).stdout)
    again = await run(target, "import", str(tmp_path / "b.jsonl"), "--group", "staff")
    assert "0 written, 2 unchanged, 0 deleted, 0 not read" in again.output


async def test_groups_for_all_are_seen_by_the_next_import(target: str, tmp_path: Path) -> None:
    path = records(tmp_path / "a.jsonl", "a")
    for expected in ("1 written, 0 unchanged", "0 written, 1 unchanged"):
        assert expected in (await run(target, "import", path, "--group-all", "staff")).output
    opened = await run(target, "import", path)  # it would be open to all again, and is not
    assert opened.exit_code == 1
    assert "a.jsonl:1: " in opened.output
    assert "import again, with --group for each of its groups" in opened.output
    assert not (await run(target, "export")).stdout


async def test_several_paths_are_imported_and_bad_ones_keep_all_that_is_there(target: str, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.md").write_text("# Title\n\nword1.\n")
    (folder / "logo.png").write_bytes(b"")
    path = records(tmp_path / "b.jsonl", "b", "b")
    done = await run(target, "import", str(folder), path, "--prune")
    assert done.exit_code == 1
    assert "2 written, 0 unchanged, 0 deleted, 1 not read" in done.output
    assert f"b.jsonl:2: its id b is that of {path}:1 too" in done.output
    assert "left out, of other formats: 1 .png" in done.output
    assert "1 of 3 documents were not read, and so none deleted" in done.output
    (folder / "a.md").unlink()
    emptied = await run(target, "import", str(folder), "--prune")
    assert "0 deleted, 1 not read" in emptied.output
    assert "holds no file that can be read" in emptied.output
    (tmp_path / "b.jsonl").write_text("")
    empty = await run(target, "import", path, "--prune")
    assert empty.exit_code == 1
    assert "nothing was read, and so none deleted" in empty.output
    assert len((await run(target, "export")).stdout.splitlines()) == 2
