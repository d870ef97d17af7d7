"""Packing: questions side by side, each told apart by its number, none of them cut or reordered."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import BundleInvalid
from gateway.model.packing import FILLER, Packed, Tokenization, apart, bucket, pack

QUESTIONS = [[5, 6, 7], [8], [9, 10]]


def unpacked(packed: Packed) -> dict[int, list[tuple[int, int, int]]]:
    """Each question's (row, position, id), in order of columns."""
    found: dict[int, list[tuple[int, int, int]]] = {}
    for row, numbers in enumerate(packed.question.tolist()):
        for at, number in enumerate(numbers):
            if number != FILLER:
                here = (row, int(packed.positions[row, at]), int(packed.ids[row, at]))
                found.setdefault(number, []).append(here)
    return found


def test_one_row_holds_all_questions_without_padding() -> None:
    packed = pack(QUESTIONS)
    assert packed.ids.tolist() == [[5, 6, 7, 8, 9, 10]]
    assert packed.positions.tolist() == [[0, 1, 2, 0, 0, 1]]
    assert packed.question.tolist() == [[0, 0, 0, 1, 2, 2]]


def test_several_rows_are_filled_up_with_filler() -> None:
    packed = pack(QUESTIONS, row_tokens=4)
    assert packed.ids.tolist() == [[5, 6, 7, 8], [9, 10, 0, 0]]
    assert packed.positions.tolist() == [[0, 1, 2, 0], [0, 1, 0, 0]]
    assert packed.question.tolist() == [[0, 0, 0, 1], [2, 2, FILLER, FILLER]]


def test_a_question_longer_than_a_row_has_one_of_its_own() -> None:
    packed = pack([[1], [2, 3, 4], [5]], row_tokens=2)
    assert packed.ids.tolist() == [[1, 0, 0], [2, 3, 4], [5, 0, 0]]


def test_apart_each_question_has_a_row_as_long_as_the_longest() -> None:
    rows = apart(QUESTIONS)
    assert rows.ids.tolist() == [[5, 6, 7], [8, 0, 0], [9, 10, 0]]
    assert rows.positions.tolist() == [[0, 1, 2]] * 3
    assert rows.question.tolist() == [[0, 0, 0], [1, FILLER, FILLER], [2, 2, FILLER]]


def test_inputs_are_named_as_the_graph_names_them() -> None:
    inputs = pack(QUESTIONS).inputs()
    assert list(inputs) == ["ids", "positions", "question"]
    assert {(value.dtype.name, value.shape) for value in inputs.values()} == {("int64", (1, 6))}


@given(
    st.lists(st.lists(st.integers(1, 30000), min_size=1, max_size=40), min_size=1, max_size=20),
    st.sampled_from([0, 1, 16, 64]),
)
def test_every_question_comes_back_whole_and_in_order(questions: list[list[int]], row_tokens: int) -> None:
    packed = pack(questions, row_tokens)
    found = unpacked(packed)
    assert list(found) == list(range(len(questions)))
    for number, tokens in enumerate(questions):
        assert [one for _, _, one in found[number]] == tokens
        assert [position for _, position, _ in found[number]] == list(range(len(tokens)))
        assert len({row for row, _, _ in found[number]}) == 1
    if row_tokens:
        assert packed.ids.shape[1] <= max(row_tokens, *map(len, questions), 0)


def test_a_file_that_is_no_tokenizer_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text("{}")
    with pytest.raises(BundleInvalid, match=r"tokenizer\.json: not a tokenizer"):
        Tokenization(path, 16)


@pytest.mark.parametrize(
    ("count", "expected"), [(1, 1), (2, 2), (3, 3), (4, 4), (5, 6), (7, 8), (9, 12), (13, 16), (17, 24), (25, 32)]
)
def test_buckets(count: int, expected: int) -> None:
    assert bucket(count) == expected


@given(st.integers(1, 100_000))
def test_a_bucket_is_its_own_and_fills_up_at_most_half(count: int) -> None:
    assert count <= bucket(count) <= 1.5 * count
    assert bucket(bucket(count)) == bucket(count)


def test_a_bucketed_batch_is_filled_up_and_nothing_else() -> None:
    one_row = pack(QUESTIONS, row_tokens=64, is_bucketed=True)
    assert one_row.ids.shape == (1, 16)
    assert unpacked(one_row) == unpacked(pack(QUESTIONS))
    rows = pack([[5] * 30] * 9, row_tokens=64, is_bucketed=True)
    assert rows.ids.shape == (6, 64)
    assert unpacked(rows) == unpacked(pack([[5] * 30] * 9, row_tokens=64))


def test_a_question_longer_than_a_row_has_its_own_bucket() -> None:
    assert pack([[5] * 70, [6]], row_tokens=64, is_bucketed=True).ids.shape == (2, 96)
