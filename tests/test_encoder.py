"""The student in torch, where torch is installed: its graphs say what it says, and packing changes nothing for it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gateway.cascade.calibration import softmax
from gateway.forge import graph
from gateway.model.packing import FILLER, pack
from gateway.types import Matrix
from tests import tiny

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

TOKENS = [encoding.ids for encoding in tiny.tokenizer().encode_batch(tiny.questions(16, seed=2))]


@pytest.fixture
def student() -> Any:
    from gateway.forge.encoder import Student  # torch must be there

    torch.manual_seed(0)
    made = Student(tiny.SHAPE, len(tiny.LABELS))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.15 * torch.randn_like(parameter))
    return made.eval()


def merged(student: Any) -> graph.Weights:
    weights = {name: value.numpy() for name, value in student.state_dict().items()}
    return graph.merge(weights, tiny.SHAPE.num_hidden_layers)


def ask(student: Any, row_tokens: int = 0) -> tuple[Matrix, Matrix]:
    packed = pack(TOKENS, row_tokens)
    with torch.inference_mode():
        logits, embedding = student(*(torch.from_numpy(one) for one in packed.inputs().values()), len(TOKENS))
    return logits.numpy(), embedding.numpy()


def test_the_reference_graph_says_what_the_student_says(student: Any) -> None:
    model = graph.build(tiny.SHAPE, merged(student), "fp32", eight_bit_weights=False)
    found, expected = tiny.run(model.SerializeToString(), TOKENS), ask(student)
    assert np.abs(found[0] - expected[0]).max() < 1e-4
    assert np.abs(found[1] - expected[1]).max() < 1e-5


def test_the_8_bit_graph_is_close_to_the_student(student: Any) -> None:
    found = tiny.run(graph.build(tiny.SHAPE, merged(student), "int8").SerializeToString(), TOKENS)
    assert np.abs(softmax(found[0]) - softmax(ask(student)[0])).max() < 0.05


def test_rows_change_nothing(student: Any) -> None:
    assert np.abs(ask(student)[0] - ask(student, row_tokens=16)[0]).max() < 1e-4


def test_padding_changes_nothing(student: Any) -> None:
    from gateway.forge.encoder import pad

    with torch.inference_mode():
        logits, _ = student(*pad(TOKENS), len(TOKENS))
    assert np.abs(logits.numpy() - ask(student)[0]).max() < 1e-4


def test_padding_belongs_to_no_question(student: Any) -> None:
    from gateway.forge.encoder import pad

    ids, positions, question = (part.tolist() for part in pad([[5, 6], [7]]))
    assert (ids, positions) == ([[5, 6], [7, 0]], [[0, 1], [0, 1]])
    assert question == [[0, 0], [1, FILLER]]


def test_a_settled_student_loses_nothing_when_stored_in_8_bits(student: Any) -> None:
    student.settle()
    whole = merged(student)
    layers = {name: one for name, one in graph.quantise(whole).items() if name != "tokens"}
    for name, one in layers.items():
        assert np.abs(one.floats() - whole[name]).max() < 1e-6


def test_training_on_the_grid_is_what_settling_gives(student: Any) -> None:
    student.use_grid()
    on_the_grid = ask(student)[0]
    student.settle()
    assert np.abs(ask(student)[0] - on_the_grid).max() < 1e-5
