"""The back-fill by another encoder: paced, kept as it goes, and gone on with after a kill."""

from __future__ import annotations

import asyncio
import logging
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gateway.errors import Draining, StoreFailed
from gateway.knowledge import backfill
from gateway.knowledge.backfill import Backfill, Progress, count_unembedded
from gateway.knowledge.changes import Batch, Create, Put
from gateway.knowledge.encoder import Encoder
from gateway.knowledge.store import Store
from gateway.knowledge.verifying import verify
from gateway.types import Matrix
from tests import test_generation as generation

PLACE = ("acme", "help")
ROOT = Path(__file__).parent.parent

KILLED = """
import os, signal
from pathlib import Path
from tests.test_backfill import opened_by

def embed(texts):
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    return made(texts)

left = 4
store, made, run = opened_by(Path({folder!r}), lambda texts: embed(texts))
run(1.0)
"""


def opened_by(folder: Path, embed: Callable[[Sequence[str]], Matrix] | None = None) -> tuple[Store, Any, Any]:
    """A store, what embeds by default, and its back-fill by another encoder."""

    async def never(texts: Sequence[str]) -> Matrix:
        raise NotImplementedError

    store = Store(folder)
    filling = Backfill(store, Encoder("maxi", 9, embed or generation.embed, never, "tiny/2"), "english", Progress())
    return store, generation.embed, lambda share, go_on=lambda: None: filling.run(share, go_on)


async def filled(store: Store, documents: int) -> None:
    await store.write(
        Batch(*PLACE, (Create(), *(Put(generation.document(f"d{at}", "card")) for at in range(documents))))
    )


async def test_one_that_was_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    store, _, _ = opened_by(tmp_path)
    await filled(store, 100)
    code = KILLED.format(folder=str(tmp_path))
    killed = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", code], cwd=ROOT, timeout=120)
    assert killed.returncode == -signal.SIGKILL
    with store.apart() as read:
        assert count_unembedded(read, "maxi") == 100 - 3 * backfill.BESIDE
    texts: list[str] = []

    def noted(some: Sequence[str]) -> Matrix:
        texts.extend(some)
        return np.asarray(generation.embed(some), np.float32)

    _, _, run = opened_by(tmp_path, noted)
    run(1.0)
    assert len({f"d{at}" for at in range(100)} & set(texts)) == 100 - 3 * backfill.BESIDE
    with store.apart() as read:
        assert count_unembedded(read, "maxi") == 0
    assert list(verify(store, lambda done, of: None)) == []
    store.close()


@pytest.mark.parametrize(("share", "naps"), [(1.0, 0.0), (0.5, 7.0), (0.25, 21.0)])
async def test_it_leaves_the_rest_of_the_time_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, share: float, naps: float
) -> None:
    """Seven passes of a second each."""
    caplog.set_level(logging.INFO)
    clock = SimpleNamespace(now=1000.0, napped=0.0)

    def nap(seconds: float) -> None:
        clock.now += seconds
        clock.napped += seconds

    def embed(texts: Sequence[str]) -> Matrix:
        clock.now += 1.0
        return np.asarray(generation.embed(texts), np.float32)

    store, _, run = opened_by(tmp_path, embed)
    await filled(store, 7 * backfill.BESIDE)
    monkeypatch.setattr(backfill, "time", SimpleNamespace(monotonic=lambda: clock.now, sleep=nap))
    run(share)
    assert clock.napped == pytest.approx(naps)
    assert f"112 stored documents were embedded in {7 + naps:.1f} s" in caplog.text
    assert ("of 112 stored documents are embedded, " in caplog.text) is (naps > 3)
    store.close()


async def test_it_ends_where_nobody_wants_it_any_more(tmp_path: Path) -> None:
    calls = 0

    def go_on() -> None:
        nonlocal calls
        calls += 1
        if calls == 5:
            raise Draining("this server is ending")

    store, _, run = opened_by(tmp_path)
    await filled(store, 100)
    with pytest.raises(Draining):
        run(1.0, go_on)
    with store.apart() as read:
        assert count_unembedded(read, "maxi") == 100 - 4 * backfill.BESIDE
    store.close()


async def test_what_cannot_be_kept_is_not_embedded_again_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, _, run = opened_by(tmp_path)
    await filled(store, 3)

    def full(connection: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr("gateway.knowledge.store.transaction", full)
    with pytest.raises(StoreFailed, match="make room, and ask again"):
        run(1.0)
    monkeypatch.undo()
    run(1.0)
    store.close()


async def test_the_log_on_disk_stays_small_though_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.knowledge.store.KEPT_LOG_BYTES", 1000)
    store, _, run = opened_by(tmp_path)
    await filled(store, 100)
    run(1.0)
    assert (tmp_path / "knowledge.db-wal").stat().st_size == 0
    store.close()
