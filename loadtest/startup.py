"""How long a gateway takes from the start of its process until it answers."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request

from loadtest.ports import free_port

PATIENCE = 60.0
POLL = 0.01
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Whatever HTTP_PROXY says: what is asked is our own child."""


def seconds_to_ready(arguments: list[str]) -> float:
    """From exec to a ready health check. Raises RuntimeError with the server's words if it ends or never gets there."""
    port, admin = free_port(), free_port()
    command = [sys.executable, "-m", "gateway", "serve", "--port", str(port), "--admin-port", str(admin), *arguments]
    started = time.perf_counter()
    with subprocess.Popen(  # noqa: S603 - our own command
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=os.environ
    ) as server:
        try:
            while time.perf_counter() - started < PATIENCE:
                if server.poll() is not None:
                    raise RuntimeError(f"the server ended with {server.returncode}: {server.communicate()[1].strip()}")
                try:
                    with DIRECT.open(f"http://127.0.0.1:{admin}/readyz", timeout=1):
                        return time.perf_counter() - started
                except (urllib.error.URLError, ConnectionError, TimeoutError):
                    time.sleep(POLL)
            raise RuntimeError(f"the server was not ready within {PATIENCE:g} s")
        finally:
            server.terminate()
            server.wait(30)
