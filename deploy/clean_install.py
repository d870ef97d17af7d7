"""`python -m deploy.clean_install WHEEL`: from an empty environment to the first answer, and how long that takes."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PATIENCE = 120.0
"""Seconds for a server to answer."""
AT_MOST, AIM = 60.0, 30.0
QUESTION = "Where is my card?"


def main() -> None:
    wheel = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        began = time.monotonic()
        venv.create(folder / "venv", with_pip=True)
        made = time.monotonic()
        program = folder / "venv" / "bin"
        subprocess.run([program / "pip", "install", "-q", f"{wheel}[cpu]"], check=True, stderr=subprocess.DEVNULL)
        installed = time.monotonic()
        elsewhere = folder / "elsewhere"
        elsewhere.mkdir()
        port, admin = "50951", "9951"
        with _serving([str(program / "gateway"), "serve", "--port", port, "--admin-port", admin], elsewhere):
            answer = _asked([str(program / "gateway"), "ask", "--target", f"127.0.0.1:{port}", QUESTION], elsewhere)
        ended = time.monotonic()
    print(answer.strip())
    print(
        f"{wheel.name}, {wheel.stat().st_size / 2**20:.1f} MB: {made - began:.1f} s for the environment, "
        f"{installed - made:.1f} to install, {ended - installed:.1f} to start, answer and end: {ended - began:.1f} s "
        f"in all, packages as pip has them (asked {AT_MOST:g}, aim {AIM:g})"
    )


@contextmanager
def _serving(command: list[str], folder: Path) -> Iterator[None]:
    server = subprocess.Popen(command, cwd=folder)
    try:
        yield
    finally:
        server.terminate()
        server.wait(30)


def _asked(command: list[str], folder: Path) -> str:
    """Its words, once there is somebody who answers."""
    began = time.monotonic()
    while True:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE)
        if done.returncode == 0:
            return done.stdout
        if time.monotonic() - began > PATIENCE:
            raise SystemExit(f"no answer within {PATIENCE:g} s: {done.stderr.strip()}")
        time.sleep(0.2)


if __name__ == "__main__":
    main()
