"""A run in torch, where torch is installed: what is refused before anything is taught, and what its keys stand for."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from gateway.forge import card, data, recipes
from gateway.forge.knowledge import Knowledge
from gateway.forge.shape import Shape
from gateway.forge.texts import Labelled
from gateway.model import bundle as bundles
from tests import tiny
from tests.test_data import recipe as written

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")


@pytest.fixture
def forge(tmp_path: Path) -> Any:
    from gateway.forge.run import Forge  # torch must be there

    recipe = written(tmp_path)
    known = Knowledge((), (), {"card": "cards"})
    return Forge(recipe, data.load(recipe), known, tmp_path / "work", Console(file=io.StringIO()), tmp_path)


def test_a_folder_with_other_things_is_refused_before_any_work(forge: Any, tmp_path: Path) -> None:
    from gateway.forge.run import run

    with pytest.raises(ValueError, match=r"no manifest\.json"):
        run(forge.recipe, tmp_path / "work", tmp_path, tmp_path, forge.console)
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize(
    ("change", "problem"), [({"layers": (2, 3)}, r"layers: 3 of small's 2"), ({"max_tokens": 128}, "positions for 64")]
)
def test_what_the_base_cannot_give_is_refused(forge: Any, change: dict[str, Any], problem: str) -> None:
    from gateway.forge.run import _check_depths

    student = forge.recipe.student.model_copy(update={"layers": (1, 2), "max_tokens": 32} | change)
    with pytest.raises(ValueError, match=problem):
        _check_depths(forge.recipe.model_copy(update={"student": student}), tiny.SHAPE)


def test_the_files_that_must_not_train_decide_no_step(forge: Any) -> None:
    section = forge.recipe.data.model_copy(update={"never": ("test.csv",)})
    with_never = replace(forge, recipe=forge.recipe.model_copy(update={"data": section}))
    for one in forge.recipe.teachers:
        assert with_never.teacher_decides(one) == forge.teacher_decides(one)


def test_steps_of_other_decisions_have_changed(forge: Any) -> None:
    from gateway.forge.steps import Done, key_of

    def make(name: str, decides: object) -> str:
        done: Done = forge.steps.run(name, decides, lambda folder, report: report(1, 1, ""))
        return done.key

    sections = forge.recipe.teachers
    taught = [make(f"teacher-{number}", forge.teacher_decides(one)) for number, one in enumerate(sections, 1)]
    lessons = make("lessons", forge.lessons_decides(taught))
    deepest = make("student-6", forge.student_decides(lessons, 6))
    make("measure-6", forge.measure_decides(deepest))
    sense = make("sense", [deepest])
    student = make("student-3", forge.student_decides(lessons, 3, sense))
    make("measure-3", forge.measure_decides(student))
    assert forge.changed(3) == forge.changed(6) == []
    other = replace(forge, knowledge=Knowledge((), (), {"card": "fees"}))
    assert other.changed(6) == ["student-6", "measure-6"]
    assert other.changed(3) == ["student-6", "sense", "student-3", "measure-3"]
    assert [key_of(f"teacher-{at}", forge.teacher_decides(one)) for at, one in enumerate(sections, 1)] == taught


def test_each_teacher_is_of_its_own_base_and_seed(forge: Any) -> None:
    large, small, _ = forge.recipe.teachers
    assert forge.recipe.base_of(large) == forge.recipe.teacher_base
    assert forge.recipe.base_of(small) == forge.recipe.student_base
    assert forge.teacher_decides(large) != forge.teacher_decides(large.model_copy(update={"seed": 1}))


def test_credit_does_not_teach_anew(forge: Any) -> None:
    section = forge.recipe.data.model_copy(update={"attribution": ("somebody",)})
    credited = replace(forge, recipe=forge.recipe.model_copy(update={"data": section}))
    section = forge.recipe.teachers[0]
    assert credited.teacher_decides(section) == forge.teacher_decides(section)


def transfer(wanted: list[int], document: list[int]) -> Any:
    from gateway.forge.distil import TransferSet

    texts = [f"text {at}" for at in range(len(wanted) + len(document))]
    nothing = np.zeros((len(texts), 2), np.float32)
    numbers = np.array(wanted + [-1] * len(document))
    passages = np.arange(len(wanted), len(texts))
    return TransferSet(texts, nothing, numbers, numbers, nothing, passages, np.array(document, np.int64))


def test_passages_that_the_questions_want_are_drawn_first() -> None:
    chance = np.random.default_rng(0)
    drawn = transfer([2, -1, 0, 2], [0, 0, 1, *[2] * 3]).draw([0, 1, 2, 3], chance)
    assert {*drawn[:2]} & {0, 1}
    assert {*drawn[:2]} & {3, 4, 5}
    assert len(drawn) == len({*drawn})


def test_most_of_the_drawn_passages_are_wanted_but_never_all() -> None:
    from gateway.forge.distil import OWN_SHARE, PASSAGES

    many = transfer(list(range(50)), list(range(200)))
    drawn = many.draw(list(range(50)), np.random.default_rng(1))
    wanted = [one for one in drawn if one < 50]
    assert OWN_SHARE * PASSAGES <= len(wanted) < len(drawn) <= PASSAGES


def test_without_passages_none_is_drawn() -> None:
    assert transfer([0, 1], []).draw([0, 1], np.random.default_rng(0)) == []


def test_evidence_is_the_share_that_falls_to_the_wanted_document() -> None:
    from gateway.forge.distil import _evidence_loss

    wanted, document = torch.tensor([0, 1, -1]), torch.tensor([0, 1, 0])
    questions, passages = torch.tensor([[1.0, 0, 0], [1.0, 0, 0], [0, 0, 1.0]]), torch.eye(3)
    every = torch.logsumexp(torch.tensor([20.0, 0.0, 0.0]), 0)
    found, missed = every - torch.logsumexp(torch.tensor([20.0, 0.0]), 0), every - 0
    loss = _evidence_loss(questions, passages, wanted, document)
    assert float(loss) == pytest.approx(float((found + missed) / 2), rel=1e-4)


def test_questions_without_a_drawn_passage_teach_nothing() -> None:
    from gateway.forge.distil import _evidence_loss

    assert float(_evidence_loss(torch.eye(2), torch.eye(2), torch.tensor([-1, 5]), torch.tensor([0, 1]))) == 0


def test_a_teacher_of_another_build_says_so() -> None:
    from gateway.forge.teacher import Teacher

    teacher = Teacher.__new__(Teacher)
    torch.nn.Module.__init__(teacher)
    teacher.trunk = torch.nn.Linear(2, 2)
    with pytest.raises(ValueError, match="a Linear has no `embeddings`"):
        teacher.freeze(0)


def test_the_template_fits_its_base() -> None:
    from gateway.forge.run import _check_depths

    template = recipes.load(Path(__file__).parent.parent / "models" / "template" / "recipe.toml")
    _check_depths(template, Shape(30522, 384, 6, 12, 1536, 512, 1e-12))


def made_data(count: int) -> data.Data:
    """Questions of made-up words: random weights answer them at random, which a bundle can be made of all the same."""
    texts = tiny.questions(12 * count, seed=5)
    rows = [Labelled(text, tiny.LABELS[at % 3]) for at, text in enumerate(dict.fromkeys(texts))]
    train, dev, calibrate, certify = (tuple(rows[at * count : (at + 1) * count]) for at in range(4))
    return data.Data(
        tuple(sorted(tiny.LABELS)), train, dev, calibrate, certify, (), (), (), (), {"train.csv": "0" * 64}
    )


def test_a_student_becomes_a_bundle_that_answers(tmp_path: Path) -> None:
    from gateway.forge import bundle, run
    from gateway.forge.encoder import Student

    base = tmp_path / "base"
    base.mkdir()
    tiny.tokenizer().save(str(base / "tokenizer.json"))
    torch.manual_seed(1)
    student = Student(tiny.SHAPE, len(tiny.LABELS))
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(0.15 * torch.randn_like(parameter))
    student.settle()
    recipe = written(tmp_path)
    recipe = recipe.model_copy(update={"student": recipe.student.model_copy(update={"max_tokens": 32})})
    out = tmp_path / "models" / "tiny" / "1"
    console = Console(file=io.StringIO())
    folders = tmp_path / "work", out, console
    seen, known = made_data(20), Knowledge((), (), {})
    trained = run.trained(recipe, student.eval(), base)
    bundle.make(recipe, seen, known, trained, {"2": {"accuracy": 0.3}}, {}, *folders)
    certificate = tiny.certificate(out)
    assert (certificate.questions, certificate.outliers) == (20, 0)
    assert "INSUFFICIENT" in card.warnings(certificate)[0]
    assert bundles.load(out).uncertified == ""
    assert [one.name for one in out.parent.iterdir()] == ["1"]
