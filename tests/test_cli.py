"""The command: help, errors and exit codes, and what `ask` prints."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from types import ModuleType

import click
import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from gateway.cli.ask import rendered
from gateway.cli.main import COMMANDS, cli
from gateway.errors import ConfigInvalid
from gateway.rpc.server import Ports
from tests.fakes import ABSTENTION, ANSWER, FakeGateway


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, list(arguments))


async def asked(*arguments: str) -> Result:
    return await asyncio.to_thread(run, "ask", "--timeout-ms", "5000", *arguments)


def shown(answer: object) -> str:
    console = Console(width=120, record=True, file=sys.stderr, color_system=None)
    console.print(answer)
    return console.export_text()


def test_help_names_every_command() -> None:
    result = run("--help")
    assert result.exit_code == 0
    for name in COMMANDS:
        assert f"  {name} " in result.output


def test_numpy_multiplies_on_one_thread() -> None:
    """Read at numpy's import, so before any command: its threads spin between products and take a core."""
    code = (
        "import sys; from gateway.cli import main; assert 'numpy' not in sys.modules\n"
        "sys.argv = ['gateway', '--version']\n"
        "try: main.main()\nexcept SystemExit: pass\n"
        "import numpy as np, os; a = np.ones((1000, 1000)); a @ a; print(len(os.listdir('/proc/self/task')))"
    )
    env = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == "1"


def test_an_unknown_command_is_a_usage_error() -> None:
    assert run("sreve").exit_code == 2


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(shell: str) -> None:
    result = run("completion", shell)
    assert result.exit_code == 0
    assert "_GATEWAY_COMPLETE" in result.output


async def test_ask_prints_json(ports: Ports) -> None:
    result = await asked("--json", "--request-id", "r-1", "--target", f"127.0.0.1:{ports.grpc}", "why?")
    assert result.exit_code == 0
    answer = json.loads(result.output)
    assert (answer["document_id"], answer["request_id"]) == ("card-arrival", "r-1")
    assert (answer["knowledge_version"], answer["confidence"]) == (7, 0.9375)


async def test_ask_prints_errors_as_json_too(ports: Ports) -> None:
    refused = await asked("--json", "--target", f"127.0.0.1:{ports.grpc}", " ")
    absent = await asked("--json", "--target", "127.0.0.1:1", "why?")
    assert (refused.exit_code, absent.exit_code) == (4, 3)
    error = {"code": "INVALID_ARGUMENT", "message": "question: is blank", "reason": "INVALID_QUESTION"}
    assert json.loads(refused.output) == {"error": error}
    assert json.loads(absent.output)["error"]["code"] == "UNAVAILABLE"


async def test_ask_says_who_asks(ports: Ports, gateway: FakeGateway) -> None:
    await asked("--tenant", "acme", "--group", "a", "--group", "b", "--target", f"127.0.0.1:{ports.grpc}", "why?")
    assert gateway.questions[0].principal.groups == {"a", "b"}


async def test_ask_says_what_has_to_be_seen(ports: Ports) -> None:
    target = ("--target", f"127.0.0.1:{ports.grpc}")
    assert (await asked(*target, "why?", "--min-knowledge-version", "7")).exit_code == 0
    late = await asked(*target, "why?", "--min-knowledge-version", "8", "--json")
    assert late.exit_code == 4
    assert json.loads(late.stdout)["error"]["reason"] == "KNOWLEDGE_BEHIND"


async def test_ask_exits_3_when_nobody_is_there() -> None:
    result = await asked("--target", "127.0.0.1:1", "why?")
    assert result.exit_code == 3
    assert "gateway serve" in result.output


async def test_ask_exits_4_when_refused(ports: Ports) -> None:
    result = await asked("--target", f"127.0.0.1:{ports.grpc}", " ")
    assert result.exit_code == 4
    assert "question: is blank" in result.output


def test_an_answer_is_shown_with_what_it_rests_on() -> None:
    text = shown(rendered(ANSWER))
    for part in ("model", "confident", "0.938", "Cards arrive within five days.", "“Cards”", "infer", "banking/1"):
        assert part in text


def test_an_abstention_is_shown_as_one() -> None:
    text = shown(rendered(ABSTENTION))
    assert "No answer was good enough to give." in text
    assert "Nearest documents: card-arrival" in text


TORCH_HINT = (
    "Error: torch.nn is not installed: `make train` installs it (several GB), or pip install 'cascade-gateway[train]'"
)


@pytest.fixture
def failing() -> Iterator[list[Exception]]:
    """A sub-command that raises what is put into the list."""
    errors: list[Exception] = []

    @click.command()
    def fail() -> None:
        raise errors[0]

    module = ModuleType("tests.failing")
    module.fail = fail  # type: ignore[attr-defined]
    sys.modules[module.__name__] = module
    COMMANDS["fail"] = ("tests.failing:fail", "Fail.")
    yield errors
    del COMMANDS["fail"], sys.modules[module.__name__]


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (ConfigInvalid("server.port: no"), 2, "Error: server.port: no"),
        (PermissionError(13, "Permission denied", "/a/file"), 1, "Error: /a/file: Permission denied"),
        (RuntimeError("broken"), 1, "Error: RuntimeError: broken (gateway --debug shows where)"),
        (
            ModuleNotFoundError("No module named 'torch.nn'", name="torch.nn"),
            1,
            TORCH_HINT,
        ),
        (
            ModuleNotFoundError("No module named 'hnswlib'", name="hnswlib"),
            1,
            "Error: hnswlib is not installed: `make run` installs it, or pip install 'cascade-gateway[cpu]', or [gpu]",
        ),
        (
            ModuleNotFoundError("No module named 'gateway.gone'", name="gateway.gone"),
            1,
            "Error: ModuleNotFoundError: No module named 'gateway.gone' (gateway --debug shows where)",
        ),
    ],
)
def test_errors_are_one_line_with_a_code(failing: list[Exception], error: Exception, code: int, text: str) -> None:
    failing.append(error)
    result = run("fail")
    assert result.exit_code == code
    assert result.output.strip() == text


def test_debug_shows_the_traceback(failing: list[Exception]) -> None:
    failing.append(RuntimeError("broken"))
    assert isinstance(run("--debug", "fail").exception, RuntimeError)
