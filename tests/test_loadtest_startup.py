"""How long a start takes: asked of the child itself, whatever proxy the environment names."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from loadtest import startup


class Ready(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    """Where something says that it is ready."""
    with HTTPServer(("127.0.0.1", 0), Ready) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_no_proxy_is_asked(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    child = [sys.executable, "-c", "import time; time.sleep(600)"]
    real = subprocess.Popen
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setattr(startup, "free_port", lambda: port)
    monkeypatch.setattr(subprocess, "Popen", lambda command, **options: real(child, **options))
    monkeypatch.setattr(startup, "PATIENCE", 20)
    assert startup.seconds_to_ready([]) > 0
