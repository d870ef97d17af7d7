"""The cache of embeddings: it saves work, and never gives anything but what the encoder would give."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from gateway.knowledge.embeddings import EmbeddingCache
from gateway.types import Matrix

TEXTS = ["one", "two", "three"]


class Encoder:
    """Counts what it is asked; a text's vector points along the axis of its length."""

    def __init__(self, dim: int = 8) -> None:
        self.dim = dim
        self.asked: list[list[str]] = []

    def __call__(self, texts: Sequence[str]) -> Matrix:
        self.asked.append(list(texts))
        return np.stack([np.eye(self.dim, dtype=np.float32)[len(text) % self.dim] for text in texts])


@pytest.fixture
def encoder() -> Encoder:
    return Encoder()


def only_file(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


def test_the_first_start_embeds_everything(tmp_path: Path, encoder: Encoder) -> None:
    found = EmbeddingCache(encoder, "a", 8, tmp_path)(TEXTS)
    assert found.argmax(axis=1).tolist() == [3, 3, 5]
    assert encoder.asked == [TEXTS]


def test_the_next_start_asks_the_encoder_nothing(tmp_path: Path, encoder: Encoder) -> None:
    first = EmbeddingCache(encoder, "a", 8, tmp_path)(TEXTS)
    second = EmbeddingCache(encoder, "a", 8, tmp_path)(TEXTS[::-1])
    assert len(encoder.asked) == 1
    assert np.array_equal(second, first[::-1])
    assert second.dtype == np.float32


def test_only_what_is_new_is_embedded(tmp_path: Path, encoder: Encoder) -> None:
    EmbeddingCache(encoder, "a", 8, tmp_path)(TEXTS)
    EmbeddingCache(encoder, "a", 8, tmp_path)(["four", *TEXTS])
    assert encoder.asked[1:] == [["four"]]


@pytest.mark.parametrize("now", [["two"], ["two", "four", "two"]])
def test_what_is_no_longer_asked_for_is_forgotten(tmp_path: Path, encoder: Encoder, now: list[str]) -> None:
    EmbeddingCache(encoder, "a", 8, tmp_path)(TEXTS)
    EmbeddingCache(encoder, "a", 8, tmp_path)(now)
    EmbeddingCache(encoder, "a", 8, tmp_path)(["one", *now])
    assert encoder.asked[-1] == ["one"]


def test_another_encoder_has_another_file(tmp_path: Path, encoder: Encoder) -> None:
    EmbeddingCache(encoder, "a", 8, tmp_path)(TEXTS)
    EmbeddingCache(encoder, "b", 8, tmp_path)(TEXTS)
    assert encoder.asked == [TEXTS, TEXTS]
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("damage", ["flipped", "cut", "emptied"])
def test_a_damaged_file_is_made_anew(
    tmp_path: Path, encoder: Encoder, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    EmbeddingCache(encoder, "a", 8, tmp_path)(TEXTS)
    path = only_file(tmp_path)
    content = path.read_bytes()
    flipped = content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]
    path.write_bytes({"flipped": flipped, "cut": content[:-20], "emptied": b""}[damage])
    found = EmbeddingCache(encoder, "a", 8, tmp_path)(TEXTS)
    assert found.argmax(axis=1).tolist() == [3, 3, 5]
    assert encoder.asked == [TEXTS, TEXTS]
    assert "made anew" in caplog.text
    assert path.read_bytes() == content


def test_a_file_of_another_width_is_made_anew(tmp_path: Path, encoder: Encoder) -> None:
    EmbeddingCache(encoder, "a", 8, tmp_path)(TEXTS)
    wider = Encoder(16)
    assert EmbeddingCache(wider, "a", 16, tmp_path)(TEXTS).shape == (3, 16)
    assert wider.asked == [TEXTS]


def test_a_folder_that_cannot_be_written_only_warns(
    tmp_path: Path, encoder: Encoder, caplog: pytest.LogCaptureFixture
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with caplog.at_level(logging.WARNING):
        found = EmbeddingCache(encoder, "a", 8, blocked / "cache")(TEXTS)
    assert found.shape == (3, 8)
    assert "could not be written" in caplog.text


def test_nothing_is_left_behind_by_a_failed_write(tmp_path: Path, encoder: Encoder) -> None:
    cache = EmbeddingCache(encoder, "a", 8, tmp_path)
    cache(TEXTS)
    path = only_file(tmp_path)
    path.unlink()
    path.mkdir()  # a folder cannot be replaced by a file
    cache(["four"])
    assert list(tmp_path.iterdir()) == [path]
