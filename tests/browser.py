"""A headless Chromium, driven by its DevTools protocol: as much of it as the tests of the page need."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
REQUIRED = "GATEWAY_TEST_BROWSER"
"""Set where a browser has to be there: without one its tests fail instead of being skipped."""
PATIENCE = 60.0
"""Seconds for anything to come about on a busy machine."""
FLAGS = (
    "--headless=new",
    "--no-sandbox",  # tests run as root in containers, where Chromium has none
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
)
KEYS = {
    "Tab": (9, ""),
    "Enter": (13, "\r"),
    "ArrowRight": (39, ""),
    "ArrowLeft": (37, ""),
    "ArrowDown": (40, ""),
    "Home": (36, ""),
    "End": (35, ""),
    " ": (32, " "),
}


def found() -> str:
    """Where Chromium is. Skips the test, or fails it, where it is not."""
    for name in NAMES:
        if path := shutil.which(name):
            return path
    reason = "no Chromium here: apt-get install chromium"
    if os.environ.get(REQUIRED):
        pytest.fail(reason)
    pytest.skip(reason)


class Page:
    """One tab. `problems`: all that its console has said of errors, and all that the policy has kept out."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._reading = asyncio.create_task(self._read())
        self.problems: list[str] = []

    async def _read(self) -> None:
        async for message in self._socket:
            found = json.loads(message.data)
            if waiting := self._waiting.pop(found.get("id"), None):
                waiting.set_result(found)
            else:
                self._note(found.get("method", ""), found.get("params", {}))

    def _note(self, method: str, told: dict[str, Any]) -> None:
        if method == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(told["exceptionDetails"]))
        elif method == "Log.entryAdded" and told["entry"]["level"] in ("error", "warning"):
            self.problems.append(f"{told['entry']['text']} ({told['entry'].get('url', '')})")
        elif method == "Runtime.consoleAPICalled" and told["type"] in ("error", "warning", "assert"):
            self.problems.append(json.dumps(told["args"]))

    async def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A command of the protocol, and its result."""
        number = next(self._numbers)
        waiting = self._waiting[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        reply = await asyncio.wait_for(waiting, PATIENCE)
        assert "error" not in reply, f"{method}: {reply['error']}"
        result: dict[str, Any] = reply["result"]
        return result

    async def value(self, expression: str) -> Any:
        """What an expression of JavaScript gives, promises waited for."""
        reply = await self.send(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True, userGesture=True
        )
        assert "exceptionDetails" not in reply, reply["exceptionDetails"]
        return reply["result"].get("value")

    async def until(self, expression: str) -> None:
        """Wait until an expression is true."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not await self.value(expression):  # noqa: ASYNC110  # what is awaited is in another process
                    await asyncio.sleep(0.02)
        except TimeoutError:
            shown = await self.value("document.body.innerText")
            raise AssertionError(f"never true: {expression}\n{self.problems}\n{shown}") from None

    async def open(self, url: str) -> None:
        await self.send("Page.navigate", url=url)
        await self.until(f"location.href.startsWith({json.dumps(url)}) && document.readyState === 'complete'")

    async def size(self, width: int, height: int = 900) -> None:
        await self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )

    async def prefer(self, **features: str) -> None:
        """Media features of the reader, as `prefers_color_scheme="dark"`."""
        wanted = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        await self.send("Emulation.setEmulatedMedia", features=wanted)

    async def press(self, key: str, shift: bool = False) -> None:
        code, text = KEYS[key]
        for kind in ("keyDown" if text else "rawKeyDown", "keyUp"):
            given = {"text": text} if text and kind == "keyDown" else {}
            await self.send(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code="Space" if key == " " else key,
                windowsVirtualKeyCode=code,
                modifiers=8 if shift else 0,
                **given,
            )

    async def write(self, text: str) -> None:
        """Into what has the focus."""
        await self.send("Input.insertText", text=text)

    async def screenshot(self) -> bytes:
        """Of the whole page, as PNG."""
        taken = await self.send("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        return base64.b64decode(taken["data"])

    async def close(self) -> None:
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)


@contextmanager
def chromium() -> Iterator[str]:
    """A browser of its own; the address of its debugger."""
    with tempfile.TemporaryDirectory(prefix="gateway-browser-", ignore_cleanup_errors=True) as folder:
        process = subprocess.Popen(
            [found(), *FLAGS, f"--user-data-dir={folder}"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # It starts others; they are ended together.
            start_new_session=True,
        )
        try:
            yield f"http://127.0.0.1:{_port(Path(folder), process)}"
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _port(folder: Path, process: subprocess.Popen[bytes]) -> int:
    """Where the debugger listens, once it does."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and process.poll() is None:
        with suppress(OSError, IndexError):
            return int((folder / "DevToolsActivePort").read_text().split()[0])
        time.sleep(0.05)
    raise AssertionError(f"Chromium did not start (exit code {process.poll()})")


@asynccontextmanager
async def tab(browser: str) -> AsyncIterator[Page]:
    """A new tab of that browser, closed in the end."""
    async with aiohttp.ClientSession() as session:
        async with session.put(f"{browser}/json/new?about:blank") as reply:
            opened = await reply.json()
        async with session.ws_connect(opened["webSocketDebuggerUrl"], max_msg_size=0) as socket:
            page = Page(socket)
            for domain in ("Page", "Runtime", "Log"):
                await page.send(f"{domain}.enable")
            yield page
            await page.close()
        await session.get(f"{browser}/json/close/{opened['id']}")
