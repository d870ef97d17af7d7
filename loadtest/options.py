"""What the commands of the harness have in common: options, the event loop, and how results are shown and kept."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click
import uvloop
from rich.console import Console

from gateway.cli.target import CREDENTIALS, NAMES, credentials
from loadtest import documents, report, subjects
from loadtest import questions as asking
from loadtest.documents import NotAResult
from loadtest.h2load import H2loadFailed
from loadtest.honesty import Limits
from loadtest.live import View
from loadtest.measure import Progress
from loadtest.processes import ServerFailed
from loadtest.protocols import GATEWAY, PROTOCOLS, STREAM
from loadtest.questions import Questions
from loadtest.scenarios import ScenarioInvalid
from loadtest.subjects import NotAnswering, Subject
from loadtest.targets import OPEN, Access, NotOurs, checked
from loadtest.trials import Terms

T = TypeVar("T")
Command = TypeVar("Command", bound=Callable[..., object])

DEFAULT_TARGET = "127.0.0.1:50051"
SWITCH_INTERVAL = 0.0005
"""Seconds that gRPC's threads may keep the interpreter from the event loop; the default, 5 ms, makes questions late."""
EXPECTED = (ScenarioInvalid, ServerFailed, NotAnswering, NotAResult, H2loadFailed)

QUESTIONS = click.option(
    "--questions",
    "sources",
    type=click.Path(path_type=Path),
    multiple=True,
    help="CSV, JSONL or plain lines; several are mixed.  [200 questions to a bank that come with this]",
)
PROTOCOL = click.option(
    "--protocol", type=click.Choice(list(PROTOCOLS)), default=GATEWAY, show_default=True, help="How to ask."
)
OPEN_SERVER = (
    click.option("--target", metavar="HOST:PORT", help=f"A server that runs already.  [{DEFAULT_TARGET}]"),
    click.option("--serve", metavar="ARGS", help="Start `gateway serve ARGS` on free ports, and stop it afterwards."),
    click.option(
        "--admin",
        metavar="HOST:PORT",
        help="The target's admin port: what it computed for nobody, and swaps. Known of what --serve starts.",
    ),
    click.option("--i-own-this-target", "is_owned", is_flag=True, help="Allow a target that is not loopback."),
)
SERVER = (*OPEN_SERVER, PROTOCOL, *CREDENTIALS)
PEERS_NEARBY = Path("../shared/peers")
PEERS = click.option(
    "--peers",
    "folder",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=lambda: PEERS_NEARBY if PEERS_NEARBY.is_dir() else None,
    help=f"Folder with serve_triton.sh and serve_mlserver.sh.  [{PEERS_NEARBY}, if it is there]",
)
MODEL_HELP = "What the peers serve: model.onnx (padded) and tokenizer.json, of the same weights as the gateway's."
HONESTY = (
    click.option(
        "--max-late-ms",
        type=click.FloatRange(min=0, min_open=True),
        default=1.0,
        show_default=True,
        help="The run is invalid if more than 1 % of the questions start later. Raise it on cores that are shared.",
    ),
    click.option(
        "--max-cpu",
        type=click.FloatRange(min=0, min_open=True),
        default=0.85,
        show_default=True,
        help="The run is invalid if the generator takes more of a core.",
    ),
)
TERMS = (
    click.option("--seconds", type=click.FloatRange(min=1), default=10.0, show_default=True, help="Of each run."),
    click.option("--warmup", type=click.FloatRange(min=0), default=2.0, show_default=True, help="Seconds before that."),
    click.option("--target-ms", type=click.FloatRange(min=0, min_open=True), default=50.0, show_default=True),
    click.option("--timeout-ms", type=click.IntRange(1, 60_000), default=200, show_default=True),
    click.option("--channels", type=click.IntRange(1, 256), default=4, show_default=True, help="Connections."),
    click.option("--seed", default=7, show_default=True),
)
SEARCH = (
    click.option("--start", type=click.FloatRange(min=1), default=100.0, show_default=True, help="The first rate."),
    click.option("--tolerance", type=click.FloatRange(0.005, 1), default=0.05, show_default=True),
    click.option("--repeats", type=click.IntRange(1, 20), default=3, show_default=True, help="Searches."),
)
OUTPUT = (
    click.option("--out", type=click.Path(path_type=Path), help="Write the whole result to this JSON file."),
    click.option("--html", type=click.Path(path_type=Path), help="Write a report that is one HTML file."),
    click.option("--json", "is_json", is_flag=True, help="Print JSON."),
)


def given(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Several options at once, in the order of the help."""

    def add(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


def subject(given: dict[str, Any]) -> Subject:
    """What --target or --serve name; takes the options SERVER out of those given. Raises click's UsageError for both,
    and for a target that is not ours; WrongSettings for files that are not there, and a key that would travel openly.
    """
    target, serve, admin, is_owned = (given.pop(name) for name in ("target", "serve", "admin", "is_owned"))
    protocol = given.pop("protocol", GATEWAY)
    shown = {name: given.pop(name) for name in NAMES if name in given}
    if target is not None and serve is not None:
        raise click.UsageError("--target and --serve exclude each other")
    if serve is not None:
        if protocol not in (GATEWAY, STREAM):
            raise click.UsageError(f"--serve starts a gateway, which does not speak {protocol}")
        return subjects.gateway(shlex.split(serve), protocol=protocol, access=_access(DEFAULT_TARGET, shown))
    try:
        address = checked(target or DEFAULT_TARGET, is_owned=is_owned)
        known = checked(admin, is_owned=is_owned) if admin else ""
        return subjects.running(address, protocol, known, _access(address, shown))
    except (NotOurs, ValueError) as error:
        raise click.UsageError(str(error)) from None


def _access(address: str, shown: dict[str, Any]) -> Access:
    return Access(*credentials(address, **shown)) if shown else OPEN


def questions(sources: tuple[Path, ...]) -> Questions:
    """Raises ClickException for a file that is not there or holds none."""
    try:
        return asking.read(sources)
    except (FileNotFoundError, ValueError) as error:
        raise click.ClickException(str(error)) from None


def terms(sources: tuple[Path, ...], max_late_ms: float, max_cpu: float, **given: Any) -> Terms:
    """Of the options QUESTIONS, HONESTY and TERMS."""
    return Terms(questions(sources), limits=Limits(max_late_ms, max_cpu), **given)


def run(work: Coroutine[Any, Any, T]) -> T:
    """On uvloop, as the server runs; errors that can be expected become one line.

    SIGTERM ends it as Ctrl-C does: servers that were started for it are stopped.
    """
    # We start servers and never use gRPC in a forked child; its handlers would say so, in a line for each start.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    interval = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_INTERVAL)
    terminated = signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        with shown_errors(), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(work)
    finally:
        signal.signal(signal.SIGTERM, terminated)
        sys.setswitchinterval(interval)


@contextmanager
def shown_errors() -> Iterator[None]:
    try:
        yield
    except EXPECTED as error:
        raise click.ClickException(str(error)) from None


@contextmanager
def watching() -> Iterator[Callable[[str, Progress], None]]:
    """Shows each run by its title as long as it lasts."""
    views: dict[str, View] = {}

    def show(title: str, progress: Progress) -> None:
        if title not in views:
            close()
            views[title] = View(title, is_terminal=sys.stderr.isatty())
        views[title].show(progress)

    def close() -> None:
        for view in views.values():
            view.close()
        views.clear()

    try:
        yield show
    finally:
        close()


def finish(
    found: dict[str, Any],
    show: Callable[[dict[str, Any], Console], None],
    *,
    out: Path | None,
    html: Path | None,
    is_json: bool,
) -> None:
    """Print the result, keep it where that was asked for, and exit with 1 if it is invalid, saying so loudly."""
    if out is not None:
        documents.write(out, found)
    if html is not None:
        html.parent.mkdir(parents=True, exist_ok=True)
        html.write_text(report.page([found]), encoding="utf-8")
    if is_json:
        click.echo(documents.text(documents.without_full(found)))
    else:
        show(found, Console())
    errors = Console(stderr=True)
    for warning in found.get("warnings", ()):
        errors.print(f"warning: {warning}", style="yellow", highlight=False, markup=False)
    if not found.get("valid", True):
        errors.print(" INVALID ", style="bold white on red")
        for fault in found["faults"]:
            errors.print(f"  {fault}", style="red", highlight=False, markup=False)
        sys.exit(1)
