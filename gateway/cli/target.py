"""Which gateway a command asks, and as whom: the options of all that ask one for its stored collections."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import click

from gateway.cli.ask import explained
from gateway.client import CallFailed, Client
from gateway.client.editor import Editor
from gateway.types import Principal

Command = TypeVar("Command", bound=Callable[..., object])

OPTIONS = (
    click.option("--target", default="127.0.0.1:50051", show_default=True, metavar="HOST:PORT"),
    click.option("--tenant", default="default", show_default=True, help="Whose collections."),
    click.option("--group", "groups", multiple=True, help="A group that the reader is in; may be repeated."),
    click.option("--timeout-ms", type=click.IntRange(min=1), default=10_000, show_default=True, help="Of each call."),
)


def given(command: Command) -> Command:
    for option in reversed(OPTIONS):
        command = option(command)
    return command


@contextmanager
def editor_at(target: str, tenant: str, groups: tuple[str, ...], timeout_ms: int) -> Iterator[Editor]:
    """Raises cli.main.Failure for what the gateway refuses."""
    with Editor(target, Principal(tenant, frozenset(groups)), timeout_ms / 1000) as editor:
        try:
            yield editor
        except CallFailed as error:
            raise explained(error, target) from None


@contextmanager
def client_at(target: str, tenant: str, groups: tuple[str, ...], timeout_ms: int) -> Iterator[Client]:
    """As `editor_at`."""
    with Client(target, Principal(tenant, frozenset(groups)), timeout_ms / 1000) as client:
        try:
            yield client
        except CallFailed as error:
            raise explained(error, target) from None
