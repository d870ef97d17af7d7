"""The process of a replica before it serves: SIGTERM while the first bundle is loaded."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

LOADING = """
import time
from gateway import assembly
from gateway.cli.main import main

async def build(*_):
    print("loading", flush=True)
    for _ in range(6000):
        time.sleep(0.01)

assembly.build = build
main()
"""


@pytest.mark.timeout(120)
def test_a_load_ends_with_sigterm() -> None:
    """In good order: who has a handler is told even as the first process of a container."""
    command = [sys.executable, "-c", LOADING, "serve", "--port", "0", "--admin-port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "loading\n"
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
