"""Servers that a measurement starts: until they are ready, what they cost, and their end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PATIENCE = 120.0
"""Seconds until a server has to be ready: some load a model for half a minute."""
POLL = 0.1
GRACE = 30.0
"""Seconds for a clean end, before it is killed."""
LAST_GRACE = 5.0
"""Seconds for the kernel to take away what was killed."""
LAST_WORDS = 2000
"""Characters of a server's output that are quoted when it fails."""
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
PROC = Path("/proc")


OBSERVING = {"GATEWAY_DRIFT__MODE": "observe"}
"""Of servers that are started here, unless the environment says otherwise. The same few questions over and over are not
like those of the certificate, and a gateway that acted on it would answer by other thresholds in the midst of a run. It
still looks at every question."""


class ServerFailed(RuntimeError):
    """A server did not start, or ended by itself; the message ends with its last words."""


@dataclass(frozen=True, slots=True)
class Use:
    """What a tree of processes has used."""

    cpu_seconds: float
    """User and system time since it was started, of processes that have ended too. In steps of 10 ms."""
    rss_bytes: int
    """Resident now. Pages that processes share count for each of them."""


@dataclass(frozen=True, slots=True)
class Stat:
    """One process, by /proc/PID/stat."""

    pid: int
    parent: int
    session: int
    ticks: int
    """User and system time, its own and that of children that have ended and were waited for."""
    pages: int
    has_ended: bool = False
    """A zombie, with all of its threads: until the last one has gone, its ports are taken."""


class Process:
    """A server in a process of its own, with all processes that it starts."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        """Start it, with `environment` added to ours. Raises ServerFailed if there is no such program."""
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - it is read while the server lives
        try:
            self._popen = subprocess.Popen(  # noqa: S603 - the caller's own command
                list(command),
                stdin=subprocess.DEVNULL,
                env={**OBSERVING, **os.environ, **(environment or {})},
                stdout=self._output,
                stderr=subprocess.STDOUT,
                # A session of its own: Ctrl-C reaches us alone, and orphans of the server are still known as its own.
                start_new_session=True,
            )
        except OSError as error:
            self._output.close()
            raise ServerFailed(f"{command[0]}: {error.strerror}") from None
        self._pids: list[int] = []

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def has_ended(self) -> bool:
        return self._popen.poll() is not None

    def terminate(self) -> None:
        """Ask it to end, as a process manager does; see `ended`."""
        self._popen.terminate()

    async def ended(self, patience: float = GRACE) -> int:
        """Its exit code, as soon as it has ended. Raises ServerFailed after `patience` seconds."""
        until = time.monotonic() + patience
        while (code := self._popen.poll()) is None:
            if time.monotonic() > until:
                raise ServerFailed(f"the server has not ended within {patience:g} s: {self.last_words()}")
            await asyncio.sleep(POLL / 10)
        return code

    def check(self) -> None:
        """Raises ServerFailed if it has ended."""
        code = self._popen.poll()
        if code is not None:
            raise ServerFailed(f"the server ended with {code}: {self.last_words()}")

    async def ready(self, is_ready: Callable[[], Awaitable[bool]], patience: float = PATIENCE) -> None:
        """Return as soon as `is_ready` says so. Raises ServerFailed if it ends first, or after `patience` seconds."""
        try:
            async with asyncio.timeout(patience):
                while True:
                    self.check()
                    if await is_ready():
                        return
                    await asyncio.sleep(POLL)
        except TimeoutError:
            raise ServerFailed(f"the server was not ready within {patience:g} s: {self.last_words()}") from None

    def use(self, *, look_for_new: bool = True) -> Use:
        """What it uses. Without `look_for_new`, of the processes that the last look found: cheap enough for an event
        loop that has questions to send, where a look through all processes of a machine may take some milliseconds."""
        if look_for_new or not self._pids:
            found = tree(self.pid, _all_stats())
            self._pids = [stat.pid for stat in found]
        else:
            found = [stat for pid in self._pids if (stat := read_stat(pid)) is not None]
        return Use(sum(stat.ticks for stat in found) / TICKS, sum(stat.pages for stat in found) * PAGE)

    def stop(self, grace: float = GRACE) -> None:
        """End it with SIGTERM, and what is left of it after `grace` seconds with SIGKILL. Returns when all are gone."""
        until = time.monotonic() + grace
        self._popen.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(grace)
        # A script may be gone before the server that it started.
        while (left := self._left()) and time.monotonic() < until:
            time.sleep(POLL)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._popen.wait()
        until = time.monotonic() + LAST_GRACE
        while self._left() and time.monotonic() < until:
            time.sleep(POLL / 10)
        self._output.close()

    def _left(self) -> list[int]:
        """Processes that still do something: one that has ended holds no port, even if nobody has waited for it yet."""
        return [stat.pid for stat in tree(self.pid, _all_stats()) if not stat.has_ended]

    def last_words(self) -> str:
        size = os.fstat(self._output.fileno()).st_size
        tail = os.pread(self._output.fileno(), LAST_WORDS, max(0, size - LAST_WORDS))
        return tail.decode(errors="replace").strip()


def tree(root: int, stats: Sequence[Stat]) -> list[Stat]:
    """The process `root`, its descendants, and everything in the session that it leads."""
    known = {root}
    while True:
        more = {one.pid for one in stats if one.parent in known or one.session == root} - known
        if not more:
            return [one for one in stats if one.pid in known]
        known |= more


def parse_stat(line: str) -> Stat:
    """A line of /proc/PID/stat."""
    # The name, in parentheses, may hold spaces and parentheses itself.
    pid, _, rest = line.partition(" (")
    fields = rest.rpartition(") ")[2].split()
    # Of the numbers in proc(5), the first field here is the third there.
    parent, session = int(fields[1]), int(fields[3])
    has_ended = fields[0] in "ZX" and int(fields[17]) <= 1
    return Stat(int(pid), parent, session, sum(map(int, fields[11:15])), int(fields[21]), has_ended)


def read_stat(pid: int) -> Stat | None:
    """Nothing if there is no such process any more."""
    try:
        return parse_stat((PROC / str(pid) / "stat").read_text())
    except (FileNotFoundError, ProcessLookupError):
        return None


def _all_stats() -> list[Stat]:
    pids = (int(path.name) for path in PROC.iterdir() if path.name.isdigit())
    return [stat for pid in pids if (stat := read_stat(pid)) is not None]
