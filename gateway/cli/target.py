"""Which gateway a command asks, how it gets there, and as whom: the options of every command that asks one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from gateway.cli.credentials import FILE_VARIABLE, KEY_VARIABLE, api_key
from gateway.cli.main import Failure, NotReached, Refused, WrongSettings
from gateway.client import CallFailed, Client, Tls
from gateway.client.editor import Editor
from gateway.rpc.binding import is_loopback
from gateway.types import Principal

Command = TypeVar("Command", bound=Callable[..., object])
Connected = TypeVar("Connected", Client, Editor)

HANDSHAKES = {
    "CERTIFICATE_VERIFY_FAILED": "its certificate is of nobody that is trusted here: name who signed it with --ca",
    "Hostname Verification": "its certificate is for another name: say which with --server-name, if that is right",
    "WRONG_VERSION_NUMBER": "it speaks no TLS: leave --tls and the options about certificates away",
    "Socket closed": "it hangs up: it may want TLS (--tls), or a certificate of yours (--client-certificate)",
}
"""What gRPC says where two do not come to speak -> what to do."""
FILE = click.Path(path_type=Path, dir_okay=False)
CREDENTIALS = (
    click.option("--tls", "wants_tls", is_flag=True, help="Speak TLS; the options about certificates say so, too."),
    click.option("--ca", type=FILE, envvar="GATEWAY_CA", help="Who signs the server's certificate.  [gRPC's list]"),
    click.option("--client-certificate", type=FILE, envvar="GATEWAY_CLIENT_CERTIFICATE", help="To show the server."),
    click.option("--client-key", type=FILE, envvar="GATEWAY_CLIENT_KEY", help="The private key of that."),
    click.option("--server-name", default="", help="What the server's certificate is for.  [the target's name]"),
    click.option("--api-key-file", type=FILE, help=f"Or {FILE_VARIABLE}, or the key in {KEY_VARIABLE}."),
    click.option("--insecure", is_flag=True, help="Send a key to another machine without TLS."),
)
"""How a command is let in."""
NAMES = ("wants_tls", "ca", "client_certificate", "client_key", "server_name", "api_key_file", "insecure")
"""Of CREDENTIALS."""
OPTIONS = (
    click.option(
        "--target", default="127.0.0.1:50051", show_default=True, envvar="GATEWAY_TARGET", metavar="HOST:PORT"
    ),
    *CREDENTIALS,
    click.option("--tenant", help="In whose name.  [default, or what the key is for]"),
    click.option("--group", "groups", multiple=True, help="A group that the reader is in; may be repeated."),
)


def given(timeout_ms: int = 10_000) -> Callable[[Command], Command]:
    """The options, which the command takes together as `**where`; so many milliseconds are the default of each call."""
    timeout = click.option(
        "--timeout-ms", type=click.IntRange(min=1), default=timeout_ms, show_default=True, help="Of each call."
    )

    def give(command: Command) -> Command:
        for option in reversed((*OPTIONS, timeout)):
            command = option(command)
        return command

    return give


def connection(
    target: str, tenant: str | None, groups: tuple[str, ...], timeout_ms: int, **shown: Any
) -> dict[str, Any]:
    """What a client is made with; `shown` is of CREDENTIALS. Raises WrongSettings."""
    tls, key = credentials(target, **shown)
    return {
        "target": target,
        "principal": Principal(tenant or "", frozenset(groups)),
        "timeout": timeout_ms / 1000,
        "tls": tls,
        "api_key": key,
    }


def credentials(
    target: str,
    wants_tls: bool,
    ca: Path | None,
    client_certificate: Path | None,
    client_key: Path | None,
    server_name: str,
    api_key_file: Path | None,
    insecure: bool,
) -> tuple[Tls | None, str]:
    """TLS, None for none, and the API key, empty for none. Raises WrongSettings."""
    if (client_certificate is None) != (client_key is None):
        raise WrongSettings("--client-certificate and --client-key go together: name both")
    files = [path for path in (ca, client_certificate, client_key) if path]
    for path in files:
        if not path.is_file():
            raise WrongSettings(f"{path}: there is no such file")
    has_tls = wants_tls or files or server_name
    key = api_key(api_key_file)
    if key and not (has_tls or insecure or _is_here(target)):
        raise WrongSettings(
            f"{target}: a key is not sent there without TLS: say --tls, or --insecure to send it anyway"
        )
    return (Tls(ca, client_certificate, client_key, server_name) if has_tls else None), key


def _is_here(target: str) -> bool:
    return target.startswith("unix:") or is_loopback(target.rpartition(":")[0].strip("[]"))


@contextmanager
def editor_at(**where: Any) -> Iterator[Editor]:
    """`where` is of `given`. Raises cli.main.Failure for what the gateway refuses."""
    with _connected(Editor, where) as editor:
        yield editor


@contextmanager
def client_at(**where: Any) -> Iterator[Client]:
    """As `editor_at`."""
    with _connected(Client, where) as client:
        yield client


@contextmanager
def _connected(kind: type[Connected], where: dict[str, Any]) -> Iterator[Connected]:
    with kind(**connection(**where)) as connected:
        try:
            yield connected
        except CallFailed as error:
            raise explained(error, where["target"]) from None


def explained(error: CallFailed, target: str) -> Failure:
    """What to do about it."""
    if error.code == "UNAVAILABLE" and not error.reason:
        why = next((fix for sign, fix in HANDSHAKES.items() if sign in error.message), None)
        if why:
            return NotReached(f"{target}: {why}")
        return NotReached(f"nothing answers at {target}: start one with `gateway serve`, or name it with --target")
    if error.code == "UNAVAILABLE":
        return NotReached(f"{target}: {error}; ask again in a moment")
    if error.code == "DEADLINE_EXCEEDED":
        return NotReached(f"{target}: {error}; allow more time with --timeout-ms")
    if error.code == "UNAUTHENTICATED":
        return Refused(f"{target}: {error}; put the key into {KEY_VARIABLE}, or name its file with --api-key-file")
    return Refused(f"{target}: {error}")
