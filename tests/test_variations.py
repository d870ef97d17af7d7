"""Variations: near the questions, none of them a question itself, and the same for a seed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.forge.variations import vary

QUESTIONS = [f"How do I {verb} the {noun} of my account today?" for verb in ("open", "close") for noun in "abcdefgh"]


def test_a_seed_gives_the_same_variations() -> None:
    assert vary(QUESTIONS, 3, seed=1) == vary(QUESTIONS, 3, seed=1)


def test_another_seed_gives_others() -> None:
    assert vary(QUESTIONS, 3, seed=1) != vary(QUESTIONS, 3, seed=2)


def test_each_question_is_varied_so_many_times_at_most() -> None:
    assert 2 * len(QUESTIONS) < len(vary(QUESTIONS, 3, seed=1)) <= 3 * len(QUESTIONS)
    assert vary(QUESTIONS, 0, seed=1) == []


def test_variations_keep_to_the_words_at_hand_or_nearly() -> None:
    known = {word for question in QUESTIONS for word in question.split()}
    shares = [sum(word in known for word in text.split()) / len(text.split()) for text in vary(QUESTIONS, 3, seed=1)]
    assert sum(shares) / len(shares) > 0.8


@given(st.lists(st.text(max_size=30), min_size=1, max_size=8), st.integers(0, 4), st.integers(0, 1000))
def test_no_variation_is_blank_or_known_or_there_twice(questions: list[str], each: int, seed: int) -> None:
    questions = [question for question in questions if question.strip()] or ["one"]
    found = vary(questions, each, seed)
    assert len(set(found)) == len(found)
    assert not set(found) & {*questions, ""}
