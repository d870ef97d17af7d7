"""What is measured: a server that runs already, or one that is started for it and stopped afterwards."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from gateway.config import ModelSection
from loadtest.admin import Admin
from loadtest.ports import free_port, is_taken
from loadtest.processes import Process, ServerFailed
from loadtest.protocols import GATEWAY, PROTOCOLS
from loadtest.targets import OK, OPEN, Access, Target

PROBE_TIMEOUT = 5.0
"""Seconds for the first answer: a cold server may take its time."""
PROBE = "When will my card arrive?"
TRITON = {
    "2 instances x 1 thread": ("2", "1", "16"),
    "2 instances x 1 thread, dynamic batching": ("2", "1", "16", "dynamic"),
    "1 instance x 2 threads, dynamic batching": ("1", "2", "16", "dynamic"),
}
"""Setting -> arguments of its script: instances, threads, largest batch, batching."""
TRITON_PORT = 8001
MLSERVER_PORT = 8081


class NotAnswering(RuntimeError):
    """A server that runs does not answer a plain question."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A server and how to talk to it."""

    name: str
    protocol: str
    """One of PROTOCOLS."""
    address: str
    command: tuple[str, ...] = ()
    """What starts it; empty if it runs already."""
    admin: str = ""
    """HOST:PORT of a gateway's admin port; empty where there is none, or it is not known."""
    access: Access = OPEN


@dataclass(frozen=True, slots=True)
class Opened:
    """A subject that answers."""

    subject: Subject
    target: Target
    process: Process | None
    """Nothing for a server that runs already."""

    @property
    def admin(self) -> Admin | None:
        return Admin(self.subject.admin) if self.subject.admin else None


def running(address: str, protocol: str, admin: str = "", access: Access = OPEN) -> Subject:
    return Subject(f"{protocol} at {address}", protocol, address, admin=admin, access=access)


def module(name: str, *arguments: str) -> tuple[str, ...]:
    """The command that runs one of our modules."""
    return (sys.executable, "-m", name, *arguments)


def gateway(arguments: Sequence[str], name: str = "", protocol: str = GATEWAY, access: Access = OPEN) -> Subject:
    """`gateway serve ARGUMENTS`, on free ports. Without a `name`, the command and how it is asked are it."""
    port, admin = free_port(), free_port()
    command = module("gateway", "serve", "--port", str(port), "--admin-port", str(admin), *arguments)
    if not name:
        name = " ".join(("gateway serve", *arguments)) + ("" if protocol == GATEWAY else f" ({protocol})")
    return Subject(name, protocol, f"127.0.0.1:{port}", command, f"127.0.0.1:{admin}", access)


def on_cpus(subject: Subject, cpus: str) -> Subject:
    """The same, started on those cores alone; see `pinned`."""
    return replace(subject, command=pinned(subject.command, cpus)) if subject.command else subject


def pinned(command: tuple[str, ...], cpus: str) -> tuple[str, ...]:
    """The command, on those cores alone, such as 0,1 or 0-1; anywhere if that is empty."""
    return ("taskset", "--cpu-list", cpus, *command) if cpus else command


def served_bundle(arguments: Sequence[str]) -> Path:
    """The bundle that `gateway serve ARGUMENTS` serves, by its --bundle or by default."""
    if "--bundle" in arguments[:-1]:
        return Path(arguments[arguments.index("--bundle") + 1])
    return ModelSection().bundle


def triton(peers: Path, model: Path, setting: str) -> Subject:
    """Triton with one of the TRITON settings, on the padded model in folder `model`."""
    command = ("bash", str(peers / "serve_triton.sh"), str(model), *TRITON[setting])
    return Subject(f"Triton, {setting}", "triton", f"127.0.0.1:{TRITON_PORT}", command)


def mlserver(peers: Path, model: Path) -> Subject:
    command = ("bash", str(peers / "serve_mlserver.sh"), str(model))
    return Subject("MLServer", "mlserver", f"127.0.0.1:{MLSERVER_PORT}", command)


@asynccontextmanager
async def opened(subject: Subject, channels: int) -> AsyncIterator[Opened]:
    """The subject, started if it has to be, once it has answered a question; stopped at the end.

    Raises ServerFailed for one that does not start, and NotAnswering for one that ought to run.
    """
    process = _started(subject) if subject.command else None
    try:
        if process is not None:
            await _wait_for(subject, process)
        target = PROTOCOLS[subject.protocol](subject.address, channels, subject.access)
        try:
            await _check(subject, target, channels)
            yield Opened(subject, target, process)
        finally:
            await target.close()
    finally:
        if process is not None:
            process.stop()


def _started(subject: Subject) -> Process:
    if is_taken(int(subject.address.rpartition(":")[2])):
        raise ServerFailed(f"{subject.name}: somebody listens on {subject.address} already")
    return Process(subject.command)


async def _wait_for(subject: Subject, process: Process) -> None:
    """Until it answers, on a channel of its own: one that has failed to connect waits before it tries again."""
    target = PROTOCOLS[subject.protocol](subject.address, 1, subject.access)

    async def is_ready() -> bool:
        return (await target.send(PROBE, PROBE_TIMEOUT, ())).status == OK

    try:
        await process.ready(is_ready)
    finally:
        await target.close()


async def _check(subject: Subject, target: Target, channels: int) -> None:
    """One question on each channel, which connects it."""
    for _ in range(channels):
        outcome = await target.send(PROBE, PROBE_TIMEOUT, ())
        if outcome.status != OK:
            raise NotAnswering(f"{subject.name} does not answer: {outcome.status} {outcome.reason}".rstrip())
