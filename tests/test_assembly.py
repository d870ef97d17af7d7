"""What is composed from which settings: collections, the queue's length, the cache's place."""

from __future__ import annotations

import math
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from gateway import assembly
from gateway.cascade.cascade import Cascade
from gateway.config import CascadeSection, Config, Device, Fallback, KnowledgeSection, ModelSection, ServerSection
from gateway.deadline import Deadline
from gateway.errors import Draining, Unavailable, UnknownCollection
from gateway.model import bundle as bundles
from gateway.model.schedule import Limits
from gateway.rpc.service import Description
from gateway.types import Answer, Degradation, Policy, Prediction, Principal, Question, Reason, Route
from tests import tiny
from tests.accelerator import Accelerator

ARTICLE = "---\nid: {id}\ntitle: Title\nuri: u\nupdated: 2026-01-01\nanswer: It is {id}.\n---\nBody of word1.\n"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture
def articles(tmp_path: Path) -> Path:
    folder = tmp_path / "articles"
    folder.mkdir()
    for name in ("red", "yellow"):
        (folder / f"{name}.md").write_text(ARTICLE.format(id=name))
    return folder


def default(folder: Path) -> KnowledgeSection:
    """As if that folder were the default one, and nobody had said anything."""
    return KnowledgeSection.model_construct(collections={"banking": folder}, _fields_set=set())


def test_the_default_collection_is_served_to_a_bundle_that_knows_it(bundle: Path, articles: Path) -> None:
    assert assembly.served(default(articles), bundles.load(bundle)) == {"banking": articles}


def test_the_default_collection_is_not_served_to_a_strangers_bundle(
    bundle: Path, articles: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (articles / "red.md").unlink()
    assert assembly.served(default(articles), bundles.load(bundle)) == {}
    assert "tiny/1 is served without a knowledge base" in caplog.text


def test_what_was_asked_for_is_served(bundle: Path, articles: Path, caplog: pytest.LogCaptureFixture) -> None:
    (articles / "red.md").unlink()
    asked = KnowledgeSection(collections={"mine": articles})
    assert assembly.served(asked, bundles.load(bundle)) == {"mine": articles}
    assert assembly.served(KnowledgeSection(collections={}), bundles.load(bundle)) == {}
    assert caplog.text == ""


async def test_without_a_knowledge_base_only_own_texts_are_answered(bundle: Path) -> None:
    config = Config(model=ModelSection(bundle=bundle), knowledge=KnowledgeSection(collections={}))
    gateway = await assembly.build(config)
    try:
        assert (gateway.collections(), gateway.default_collection) == ((), "")
        found: list[Answer] = [
            await gateway.answer(Question(text, "", policy=Policy.PARALLEL), Deadline.after(30))
            for text in tiny.questions(40, seed=5)
        ]
        with pytest.raises(UnknownCollection):
            await gateway.search("word1", "", Principal(), 1, Deadline.after(30))
    finally:
        await gateway.close()
    assert {(one.route, one.reason) for one in found} <= {
        (Route.MODEL, Reason.CONFIDENT),
        (Route.ABSTAIN, Reason.NO_EVIDENCE),
    }
    assert all(one.text == f"It is {one.label}." for one in found if one.route is Route.MODEL)
    assert {one.knowledge_version for one in found} == {0}


async def test_a_search_is_timed_by_stage(
    bundle: Path, articles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    knowledge = KnowledgeSection(collections={"mine": articles})
    gateway = await assembly.build(Config(model=ModelSection(bundle=bundle), knowledge=knowledge))
    try:
        evidence = await gateway.search("word1", "mine", Principal(), 1, Deadline.after(30))
    finally:
        await gateway.close()
    assert set(evidence.timings) == {"tokenize", "queue", "infer", "search"}
    assert len(list((tmp_path / "cache" / "cascade-gateway").iterdir())) == 1


async def test_kept_answers_are_given_again_to_the_same_caller(bundle: Path, articles: Path) -> None:
    config = Config(
        model=ModelSection(bundle=bundle),
        knowledge=KnowledgeSection(collections={"mine": articles}),
        cascade=CascadeSection(cached_answers=10),
    )
    gateway = await assembly.build(config)
    question = Question("word1 word2", "mine")
    try:
        first, second = [await gateway.answer(question, Deadline.after(30)) for _ in range(2)]
        other = await gateway.answer(replace(question, principal=Principal("acme")), Deadline.after(30))
    finally:
        await gateway.close()
    assert (first.batch_size, second.batch_size, other.batch_size) == (1, 0, 1)
    assert replace(second, timings=first.timings, batch_size=1) == first


async def test_a_kept_answer_ends_with_its_documents_and_hides_none_that_begins(bundle: Path, articles: Path) -> None:
    for name, dates in (
        ("yellow", "expires: 2026-01-02"),
        ("red", "effective: 2026-01-02\nexpires: 2026-01-03"),
        ("green", "effective: 2026-01-03"),
    ):
        text = ARTICLE.format(id=name).replace("updated", f"{dates}\nupdated")
        (articles / f"{name}.md").write_text(text)
    config = Config(
        model=ModelSection(bundle=bundle),
        knowledge=KnowledgeSection(collections={"mine": articles}),
        cascade=CascadeSection(cached_answers=10),
    )
    gateway = assembly.assemble(config)
    day = 86_400.0
    first = 1_767_225_600.0  # 2026-01-01
    clock = [first]
    gateway.library._now = lambda: clock[0]
    gateway.start()
    question = Question("word1", "mine", policy=Policy.RETRIEVAL_ONLY)
    found = []
    try:
        for clock[0] in (first, first + day - 1, first + day, first + 2 * day - 1, first + 2 * day, first):
            answer = await gateway.answer(question, Deadline.after(30))
            found.append(({one.document_id for one in answer.citations}, "cache" in answer.timings))
    finally:
        await gateway.close()
    assert found == [
        ({"yellow"}, False),
        ({"yellow"}, True),
        ({"red"}, False),
        ({"red"}, True),
        ({"green"}, False),
        ({"yellow"}, True),
    ]


def test_collections_of_one_name_keep_their_embeddings_apart(bundle: Path, articles: Path, tmp_path: Path) -> None:
    engine = assembly.load_engine(Config(model=ModelSection(bundle=bundle)))
    other = tmp_path / "other"
    other.mkdir()
    (other / "a.md").write_text(ARTICLE.format(id="blue"))
    for folder in (articles, other):
        assembly.load_library(engine, {"mine": folder}, tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_a_load_may_be_given_up_between_its_steps(bundle: Path, articles: Path, tmp_path: Path) -> None:
    for number in range(assembly.PART + 1):
        (articles / f"{number}.md").write_text(ARTICLE.format(id=f"id-{number}"))
    knowledge = KnowledgeSection(collections={"mine": articles})
    config = Config(model=ModelSection(bundle=bundle), knowledge=knowledge)
    engine = assembly.load_engine(config)
    steps: list[None] = []
    whole = assembly.load_library(engine, {"mine": articles}, tmp_path / "cache", go_on=lambda: steps.append(None))
    assert len(steps) == math.ceil(sum(whole.generation("mine").counts()) / assembly.PART) > 1  # titles and passages

    def unwanted() -> None:
        raise Draining("nobody wants it")

    with pytest.raises(Draining):
        assembly.load_library(engine, {"mine": articles}, tmp_path / "other", go_on=unwanted)
    with pytest.raises(Draining):
        assembly.assemble(config, unwanted)


def test_what_is_admitted_finds_room_in_the_queue(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[Limits] = []

    def engine(*given: object) -> SimpleNamespace:
        limits.extend(one for one in given if isinstance(one, Limits))
        return SimpleNamespace(precision="fp32")

    monkeypatch.setattr(assembly, "Engine", engine)
    assembly.load_engine(Config(model=ModelSection(bundle=bundle), server=ServerSection(max_in_flight=3000)))
    assert limits[0].waiting >= 3000 + 256


def test_the_cache_needs_no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert assembly.cache_folder() == Path.home() / ".cache" / "cascade-gateway"
    monkeypatch.setattr(Path, "home", homeless)
    assert assembly.cache_folder().parent == Path(tempfile.gettempdir())


async def test_after_a_fallback_everything_is_the_other_precision_s(
    bundle: Path, articles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Logits, calibration, thresholds and passages: each answer is the one that a gateway on a CPU would give."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    accelerator = Accelerator(monkeypatch)
    other = Path(shutil.copytree(bundle, tmp_path / "tiny"))
    _with_another_threshold(other)
    knowledge = KnowledgeSection(collections={"mine": articles})
    questions = [Question(text, "mine", policy=policy) for text in tiny.questions(20, seed=5) for policy in Policy]

    async def answered(device: Device, *, is_lost: bool = False) -> tuple[list[Answer], Description]:
        model = ModelSection(bundle=other, device=device)
        gateway = await assembly.build(Config(model=model, knowledge=knowledge))
        try:
            assert gateway.describe().degraded is None
            accelerator.is_lost = is_lost
            found = [await gateway.answer(question, Deadline.after(30)) for question in questions]
            await gateway.search("word1", "mine", Principal(), 1, Deadline.after(30))
            return [replace(one, timings={}) for one in found], gateway.describe()
        finally:
            accelerator.is_lost = False
            await gateway.close()

    on_cpu, cpu = await answered(Device.CPU)
    on_accelerator, whole = await answered(Device.CUDA)
    after, now = await answered(Device.CUDA, is_lost=True)
    assert after == on_cpu
    assert after != on_accelerator
    assert (now.precision, now.degraded, now.can_answer) == ("int8", Degradation.DEVICE_LOST, True)
    assert (now.threshold, now.bundle_sha256) == (cpu.threshold, cpu.bundle_sha256)
    assert (whole.precision, whole.fallback, cpu.fallback) == ("fp16", "int8 on CPUExecutionProvider", "")
    assert whole.threshold != cpu.threshold
    # One file of embeddings for each precision.
    assert len(list((tmp_path / "cache" / "cascade-gateway").iterdir())) == 2


def _with_another_threshold(folder: Path) -> None:
    """The 16-bit graph's, so that it can be told which calibration answered."""
    tiny.certify(folder, alone=(0.3, 0.9), informed=(0.2, 0.9), precisions=["fp16"])


async def test_without_a_fallback_a_lost_device_is_said(
    bundle: Path, articles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accelerator = Accelerator(monkeypatch)
    model = ModelSection(bundle=bundle, device=Device.CUDA, fallback=Fallback.NONE)
    gateway = await assembly.build(Config(model=model, knowledge=KnowledgeSection(collections={})))
    try:
        accelerator.is_lost = True
        with pytest.raises(Unavailable):
            await gateway.answer(Question("word1", ""), Deadline.after(30))
        now = gateway.describe()
        assert (now.can_answer, now.degraded, now.fallback) == (False, Degradation.DEVICE_LOST, "")
    finally:
        await gateway.close()


def test_every_policy_is_rehearsed_by_every_session_before_anybody_asks(
    bundle: Path, articles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Accelerator(monkeypatch)
    seen: list[tuple[float, Policy]] = []
    decide = Cascade.decide

    def watched(cascade: Cascade, prediction: Prediction, question: Question, deadline: Deadline) -> Answer:
        seen.append((id(cascade), question.policy))
        return decide(cascade, prediction, question, deadline)

    monkeypatch.setattr(Cascade, "decide", watched)
    knowledge = KnowledgeSection(collections={"mine": articles})
    assembly.assemble(Config(model=ModelSection(bundle=bundle, device=Device.CUDA), knowledge=knowledge))
    assert len({cascade for cascade, _ in seen}) == 2
    assert len(set(seen)) == 2 * len(Policy)
