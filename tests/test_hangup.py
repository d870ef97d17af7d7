"""SIGHUP, which would end a process that does not expect it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator

import pytest

from gateway.rpc import hangup


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    before = signal.getsignal(signal.SIGHUP)
    yield
    signal.signal(signal.SIGHUP, before)


async def test_a_storm_of_hangups_is_lines_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger=hangup.__name__)
    hangup.answer()
    try:
        for _ in range(50):
            signal.raise_signal(signal.SIGHUP)
        for _ in range(200):
            if hangup.ANSWER in caplog.text:
                break
            await asyncio.sleep(0.01)
        assert hangup.ANSWER in caplog.text
    finally:
        asyncio.get_running_loop().remove_signal_handler(signal.SIGHUP)


def test_while_there_is_no_loop_it_is_ignored() -> None:
    hangup.ignore()
    signal.raise_signal(signal.SIGHUP)
