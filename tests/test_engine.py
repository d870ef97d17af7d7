"""The engine on a tiny bundle: one answer at every precision and in every company, on the device asked for."""

from __future__ import annotations

import asyncio
import shutil
import weakref
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from gateway.cascade.calibration import softmax
from gateway.deadline import Deadline
from gateway.errors import DeadlineExceeded, DeviceUnavailable, InferenceFailed, Unavailable
from gateway.model import arithmetic
from gateway.model import bundle as bundles
from gateway.model.bundle import Bundle, Precision
from gateway.model.engine import Engine
from gateway.model.packing import Tokenization, pack
from gateway.model.schedule import Limits
from gateway.model.session import candidates, open_session
from gateway.types import Degradation, Matrix, Prediction
from tests import tiny
from tests.accelerator import Accelerator

TEXTS = tiny.questions(64, seed=3)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return bundles.load(tiny.write(tmp_path_factory.mktemp("bundles") / "tiny"))


@pytest.fixture(scope="module")
def engines(bundle: Bundle) -> dict[Precision, Engine]:
    return {precision: Engine(bundle, "cpu", precision=precision) for precision in tiny.PRECISIONS}


def probabilities(engine: Engine, texts: list[str]) -> Matrix:
    return softmax(engine.outputs(texts)[0])


def alone(engine: Engine, texts: list[str]) -> Matrix:
    return np.concatenate([probabilities(engine, [text]) for text in texts])


@pytest.mark.parametrize("precision", tiny.PRECISIONS)
def test_company_changes_no_answer(engines: dict[Precision, Engine], precision: Precision) -> None:
    engine, texts = engines[precision], TEXTS[:32]
    one_by_one = alone(engine, texts)
    tokenization = Tokenization(engine.bundle.path("tokenizer.json"), engine.bundle.manifest.max_tokens)
    session = open_session(engine.bundle, tokenization, "cpu", 1, precision)
    together = softmax(session.run(tokenization.encode_all(texts))[0])
    assert together.argmax(axis=1).tolist() == one_by_one.argmax(axis=1).tolist()
    assert np.abs(together - one_by_one).max() < 0.01


def test_nothing_of_an_8_bit_answer_is_rounded_otherwise_in_company(engines: dict[Precision, Engine]) -> None:
    """The heads' last bit may differ; a step of rounding would be a thousand times more."""
    tokenization = Tokenization(engines["int8"].bundle.path("tokenizer.json"), 64)
    session = open_session(engines["int8"].bundle, tokenization, "cpu", 1, "int8")
    assert not session.runs_alone
    questions = tokenization.encode_all(TEXTS)
    one_by_one = np.concatenate([session.run([one])[0] for one in questions])
    assert np.abs(session.run(questions)[0] - one_by_one).max() < 1e-5


def test_where_company_changes_8_bit_answers_each_runs_alone(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("gateway.model.session.apart", pack)  # side by side, as floats are
    monkeypatch.setattr("gateway.model.session.SAME", 0.0)
    engine = Engine(bundle, "cpu", precision="int8")
    assert "one by one" in caplog.text
    one_by_one = np.concatenate([engine.outputs([text])[0] for text in TEXTS])
    assert np.array_equal(engine.outputs(TEXTS)[0], one_by_one)


@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_precisions_agree_with_the_full_one(engines: dict[Precision, Engine], precision: Precision) -> None:
    expected, found = probabilities(engines["fp32"], TEXTS), probabilities(engines[precision], TEXTS)
    assert (found.argmax(axis=1) == expected.argmax(axis=1)).mean() >= 0.98
    if precision == "int8" and not arithmetic.products_are_exact():
        pytest.skip(arithmetic.WARNING)
    assert np.abs(found - expected).max() < 0.05


@pytest.mark.parametrize("precision", tiny.PRECISIONS)
def test_embeddings_are_of_unit_length(engines: dict[Precision, Engine], precision: Precision) -> None:
    embeddings = engines[precision].embed(TEXTS)
    assert embeddings.shape == (len(TEXTS), 32)
    assert np.linalg.norm(embeddings, axis=1).tolist() == pytest.approx([1.0] * len(TEXTS), abs=1e-4)


def test_the_labels_depend_on_the_words(engines: dict[Precision, Engine]) -> None:
    assert len(set(probabilities(engines["fp32"], TEXTS).argmax(axis=1).tolist())) > 1


def test_outputs_come_in_the_order_of_the_texts(engines: dict[Precision, Engine]) -> None:
    texts = tiny.questions(100, seed=8, longest=30)  # far more than one pass holds, of all lengths
    assert np.abs(probabilities(engines["fp32"], texts) - alone(engines["fp32"], texts)).max() < 1e-4


def test_a_long_text_is_cut_at_the_model_s_length(engines: dict[Precision, Engine]) -> None:
    engine = engines["fp32"]
    long = " ".join(tiny.WORDS[:60])
    assert np.isfinite(engine.outputs([long])[0]).all()
    assert np.array_equal(engine.embed([long]), engine.embed([f"{long} word80"]))


def test_words_that_nobody_knows_are_no_error(engines: dict[Precision, Engine]) -> None:
    assert np.isfinite(engines["int8"].outputs(["what ever ☃", "", "?"])[0]).all()


async def test_predictions_are_those_of_the_session(bundle: Bundle) -> None:
    engine = Engine(bundle, "cpu")
    engine.start()
    try:
        found = await asyncio.gather(*(engine.predict(text, Deadline.after(30)) for text in TEXTS))
    finally:
        await engine.stop()
    assert np.abs(softmax(np.stack([one.logits for one in found])) - alone(engine, TEXTS)).max() < 0.01
    assert {"tokenize", "queue", "infer"} == set(found[0].timings)
    assert engine.waiting == 0


async def test_a_passed_deadline_is_not_computed(bundle: Bundle) -> None:
    engine = Engine(bundle, "cpu")
    engine.start()
    try:
        with pytest.raises(DeadlineExceeded):
            await engine.predict("word1", Deadline.after(-1))
    finally:
        await engine.stop()


def test_a_forecast_grows_with_the_question_up_to_the_model_s_length(engines: dict[Precision, Engine]) -> None:
    def service(characters: int) -> float:
        return engines["fp32"].forecast(characters, "default", Deadline.after(30)).service

    longest = engines["fp32"].bundle.manifest.max_tokens
    assert 0 < service(1) < 1
    assert service(longest * 10) == service(longest * 1000)
    assert engines["fp32"].forecast(10, "default", Deadline.after(30)).wait == 0


@pytest.mark.parametrize(("precision", "largest"), [("int8", 192), ("fp32", 192)])
def test_passes_up_to_a_full_batch_are_warmed_and_timed(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, precision: Precision, largest: int
) -> None:
    seen: list[dict[int, float]] = []
    monkeypatch.setattr("gateway.model.engine.CostTable", seen.append)
    Engine(bundle, "cpu", precision=precision)
    assert max(seen[0]) == largest
    assert all(seconds > 0 for seconds in seen[0].values())


def test_a_cpu_runs_the_8_bit_graph(bundle: Bundle) -> None:
    engine = Engine(bundle, "cpu")
    assert (engine.precision, engine.provider) == ("int8", "CPUExecutionProvider")


def test_auto_takes_the_cpu_where_there_is_nothing_else(bundle: Bundle) -> None:
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this machine has an accelerator")
    assert Engine(bundle, "auto").provider == "CPUExecutionProvider"


def test_auto_tries_the_accelerator_first() -> None:
    assert candidates("auto") == ("cuda", "cpu")
    assert candidates("cuda") == ("cuda",)


def test_cuda_without_cuda_says_so_and_takes_nothing_else(bundle: Bundle) -> None:
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this machine has an accelerator")
    with pytest.raises(DeviceUnavailable, match="no session for device 'cuda': cuda: this onnxruntime has no CUDA"):
        Engine(bundle, "cuda")


@pytest.fixture
def broken(bundle: Bundle, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle.folder, tmp_path / "tiny"))


def test_a_graph_that_fails_its_golden_answers_gives_way_to_the_full_one(
    broken: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tiny.with_wrong_8_bit(broken)
    assert Engine(bundles.load(broken), "cpu").precision == "fp32"
    assert "fp32 runs on CPUExecutionProvider instead: cpu int8: the int8 graph gives" in caplog.text


def test_nothing_is_logged_where_the_first_choice_works(bundle: Bundle, caplog: pytest.LogCaptureFixture) -> None:
    Engine(bundle, "cpu")
    assert caplog.text == ""


def test_a_precision_that_was_asked_for_gives_way_to_no_other(broken: Path) -> None:
    tiny.with_wrong_8_bit(broken)
    with pytest.raises(DeviceUnavailable, match=r"cpu int8: the int8 graph gives .* on this machine"):
        Engine(bundles.load(broken), "cpu", precision="int8")


def test_golden_answers_that_no_graph_gives_stop_the_start(broken: Path) -> None:
    now = tiny.manifest(broken)
    others = {"red": "green", "green": "blue", "blue": "red"}
    wrong = tuple(one.model_copy(update={"label": others[one.label]}) for one in now.golden)
    tiny.rewrite(broken, now.model_copy(update={"golden": wrong}))
    with pytest.raises(DeviceUnavailable, match=r"cpu int8: .*; cpu fp32: "):
        Engine(bundles.load(broken), "cpu")


def test_a_graph_that_does_not_load_stops_the_start(broken: Path) -> None:
    for precision in tiny.PRECISIONS:
        (broken / f"{precision}.onnx").write_bytes(b"no graph")
        tiny.rehash(broken, f"{precision}.onnx")
    with pytest.raises(DeviceUnavailable, match="does not load"):
        Engine(bundles.load(broken), "cpu")


@pytest.fixture
def accelerator(monkeypatch: pytest.MonkeyPatch) -> Accelerator:
    return Accelerator(monkeypatch)


async def answered(engine: Engine, texts: list[str]) -> list[Prediction]:
    return list(await asyncio.gather(*(engine.predict(text, Deadline.after(30)) for text in texts)))


def test_an_accelerator_runs_the_16_bit_graph_from_buffers_of_few_shapes(
    bundle: Bundle, engines: dict[Precision, Engine], accelerator: Accelerator
) -> None:
    engine = Engine(bundle, "cuda")
    assert (engine.precision, engine.spare) == ("fp16", None)
    assert np.abs(probabilities(engine, TEXTS) - alone(engines["fp16"], TEXTS)).max() < 1e-3


@pytest.mark.parametrize("tokens", [64, 300, 1000])
def test_every_shape_that_a_batch_can_have_is_warmed(bundle: Bundle, accelerator: Accelerator, tokens: int) -> None:
    engine = Engine(bundle, "cuda", limits=Limits(tokens=tokens))
    bound = engine.session._bound
    assert bound is not None
    warmed = bound.shapes
    chance = np.random.default_rng(1)
    for _ in range(200):
        batch: list[list[int]] = []
        while sum(map(len, batch)) + (length := int(chance.integers(3, tiny.MAX_TOKENS + 1))) <= tokens:
            batch.append([5] * length)
        engine.session.run(batch[: int(chance.integers(1, len(batch) + 1))])
    assert bound.shapes == warmed


async def test_the_spare_takes_over_where_the_device_is_lost(
    bundle: Bundle, engines: dict[Precision, Engine], accelerator: Accelerator, caplog: pytest.LogCaptureFixture
) -> None:
    engine = Engine(bundle, "cuda", has_spare=True)
    engine.start()
    try:
        before = await answered(engine, TEXTS[:8])
        accelerator.is_lost = True
        after = await answered(engine, TEXTS)
        asked = len(accelerator.batches)
        more = await answered(engine, TEXTS[:8])
    finally:
        await engine.stop()
    assert {one.by_spare for one in before} == {False}
    assert {one.by_spare for one in (*after, *more)} == {True}
    assert len(accelerator.batches) == asked
    # To the bit what a CPU would have said: 8-bit answers do not depend on company.
    assert np.stack([one.logits for one in after]) == pytest.approx(engines["int8"].outputs(TEXTS)[0], abs=1e-5)
    assert (engine.precision, engine.provider, engine.degraded, engine.is_up) == (
        "int8", "CPUExecutionProvider", Degradation.DEVICE_LOST, True,
    )  # fmt: skip
    assert engine.profile().model.prototypes is bundle.prototypes["fp16"]
    assert "the spare session answers from now on: CUDA failure 700" in caplog.text


async def test_a_question_that_the_device_cannot_compute_fails_alone(bundle: Bundle, accelerator: Accelerator) -> None:
    engine = Engine(bundle, "cuda", has_spare=True)
    accelerator.poison = engine._tokenization.encode(TEXTS[3])
    engine.start()
    try:
        for _ in range(5):
            found = await asyncio.gather(
                *(engine.predict(text, Deadline.after(30)) for text in TEXTS[:8]), return_exceptions=True
            )
            assert [isinstance(one, InferenceFailed) for one in found].count(True) == 1
    finally:
        await engine.stop()
    assert engine.degraded is None


async def test_without_a_spare_a_lost_device_is_the_end(bundle: Bundle, accelerator: Accelerator) -> None:
    engine = Engine(bundle, "cuda")
    engine.start()
    accelerator.is_lost = True
    try:
        for _ in range(2):
            with pytest.raises(Unavailable, match="nothing to fall back to"):
                await engine.predict(TEXTS[0], Deadline.after(30))
    finally:
        await engine.stop()
    assert (engine.is_up, engine.precision) == (False, "fp16")


def test_a_cpu_needs_no_spare(bundle: Bundle) -> None:
    assert Engine(bundle, "cpu", has_spare=True).spare is None


def test_a_bundle_without_a_graph_for_the_cpu_has_no_spare_and_says_so(
    broken: Path, accelerator: Accelerator, caplog: pytest.LogCaptureFixture
) -> None:
    now = tiny.manifest(broken)
    tiny.rewrite(broken, now.model_copy(update={"variants": {"fp16": now.variants["fp16"]}}))
    assert Engine(bundles.load(broken), "cuda", has_spare=True).spare is None
    assert "there is nothing to fall back to" in caplog.text


def test_a_runtime_never_changes_the_provider_by_itself(bundle: Bundle, accelerator: Accelerator) -> None:
    """Else it would serve the 16-bit graph from the CPU after a failure, and nobody would know."""
    assert Engine(bundle, "cuda").session._session._enable_fallback is False


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_provider_that_does_not_become_active_stops_the_start(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As where CUDA's package is installed, and a library or the driver is missing."""
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this machine has an accelerator")
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    with pytest.raises(DeviceUnavailable, match="cuda was asked for, but ONNX Runtime runs on CPU"):
        Engine(bundle, "cuda")
    assert Engine(bundle, "auto", has_spare=True).provider == "CPUExecutionProvider"
    assert "int8 runs on CPUExecutionProvider instead: cuda fp16: cuda was asked for" in caplog.text


async def test_one_that_was_closed_has_given_its_graph_back(bundle: Bundle) -> None:
    engine = Engine(bundle, "cpu")
    graph = weakref.ref(engine.session._session)
    engine.start()
    await engine.close()
    assert graph() is None
    with pytest.raises(InferenceFailed):
        engine.embed(["why?"])
