"""Arrays in one file: what comes out is what went in, and its sha256 is of what was meant."""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from gateway.knowledge import packed
from gateway.knowledge.packed import ALIGNMENT, Array, is_sound, layout, pack, unpacked, written

ARRAYS: dict[str, Array] = {
    "odd": np.arange(5, dtype=np.uint8),
    "none": np.empty((0, 3), np.float32),
    "square": np.arange(12, dtype=np.float64).reshape(4, 3)[:, ::2],
    "long": np.arange(3 << 18, dtype=np.int64),
}


def test_what_was_packed_comes_out_aligned_and_the_same(tmp_path: Path) -> None:
    path = tmp_path / "arrays"
    digest = written(path, partial(pack, ARRAYS))
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert is_sound(path, digest)
    found = unpacked(path, layout(ARRAYS))
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert np.array_equal(found[name], array)
        assert found[name].ctypes.data % ALIGNMENT == 0 or not array.size
        assert not found[name].flags.writeable


def test_others_go_on_between_pieces_and_may_end_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "PIECE", 1 << 16)
    called: list[int] = []
    written(tmp_path / "whole", partial(pack, ARRAYS), lambda: called.append(1))
    assert len(called) > ARRAYS["long"].nbytes >> 16

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        written(tmp_path / "part", partial(pack, ARRAYS), stop)


def test_a_file_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(b"old")
    with pytest.raises(FileExistsError):
        written(tmp_path / "there", partial(pack, ARRAYS))
    assert not is_sound(tmp_path / "there", "00")
