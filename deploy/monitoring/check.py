"""`make prometheus`: what is written here, held against a real Prometheus that reads a gateway under load.

Every rule and every query of the dashboard is evaluated without an error, and every query has data, but for those that
say why they may have none.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import yaml

from deploy.monitoring.alerts import ALERTS
from deploy.monitoring.dashboards import ROWS
from deploy.monitoring.files import ROOT, rules
from deploy.monitoring.rules import recorded
from gateway.client import CallFailed, Client, Editor
from gateway.types import Document, Policy, Principal

PROMETHEUS = ROOT / "deploy/prometheus"
QUESTIONS = ("Why was my card payment declined?", "The cash machine kept my card", "What is the moon made of?")
LOADED_SECONDS = 25.0
"""Long enough for several scrapes, one a second, and for a rate over half a minute."""
WAIT_SECONDS = 60.0


@click.command()
@click.option("--only-files", is_flag=True, help="The files and their unit tests, without a gateway.")
def main(only_files: bool) -> None:
    """Exit code 1 where something is wrong."""
    for tool in ("promtool", "prometheus"):
        if shutil.which(tool) is None:
            raise click.ClickException(f"{tool} is not there: install Prometheus (Debian: apt-get install prometheus)")
    _run("promtool", "check", "rules", "rules.yml")
    for name in ("rules_test.yml", "rules_days_test.yml"):
        _run("promtool", "test", "rules", name)
    click.echo(f"{len(ALERTS)} alerts, each of which fires and is silent where it should be")
    if not only_files:
        problems = checked()
        click.echo("\n".join(problems) or "every rule and every query of the dashboard is right, and has data")
        sys.exit(bool(problems))


def _run(*command: str) -> None:
    done = subprocess.run(command, cwd=PROMETHEUS, capture_output=True, text=True, check=False)
    if done.returncode:
        raise click.ClickException(f"{' '.join(command)}: {done.stdout}{done.stderr}")


def checked() -> list[str]:
    """What is wrong, a line each."""
    with tempfile.TemporaryDirectory(prefix="prometheus-") as made:
        folder = Path(made)
        grpc_port, admin_port, port = (_free_port() for _ in range(3))
        with _gateway(folder, grpc_port, admin_port), _prometheus(folder, admin_port, port):
            _load(f"127.0.0.1:{grpc_port}")
            exposition = urllib.request.urlopen(f"http://127.0.0.1:{admin_port}/metrics").read()
            linted = subprocess.run(
                ["promtool", "check", "metrics"], input=exposition, capture_output=True, check=False
            )
            lint = linted.stderr.decode().strip() if linted.returncode else ""
            return [*([f"promtool check metrics: {lint}"] if lint else []), *_wrong(port)]


def _wrong(port: int) -> list[str]:
    found = [f"{name}: {error}" for name, expr in recorded().items() if (error := _asked(port, expr)[1])]
    found += [f"{one.name}: {error}" for one in ALERTS if (error := _asked(port, one.expr)[1])]
    for title, row in ROWS:
        for panel in row:
            for expr in panel.queries:
                data, error = _asked(port, _as_now(expr))
                if error or not (data or panel.rare):
                    found.append(f"{title}: {panel.title}: {expr}: {error or 'no data'}")
    states = _get(port, "rules", type="alert")["groups"]
    found += [
        f"{rule['name']}: {rule['lastError']}" for group in states for rule in group["rules"] if rule.get("lastError")
    ]
    return found


def _as_now(expr: str) -> str:
    """With the dashboard's variables as Grafana would put them in."""
    return expr.replace("$instance", ".*").replace("$__rate_interval", "30s")


def _asked(port: int, expr: str) -> tuple[list[Any], str]:
    """The result, and what is wrong with the expression."""
    try:
        return list(_get(port, "query", query=expr)["result"]), ""
    except urllib.error.HTTPError as error:
        return [], str(json.load(error).get("error", error))


def _get(port: int, what: str, **parameters: str) -> Any:
    query = urllib.parse.urlencode(parameters)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/{what}?{query}", timeout=30) as response:
        return json.load(response)["data"]


@contextlib.contextmanager
def _gateway(folder: Path, port: int, admin_port: int) -> Iterator[None]:
    """The shipped one, with stored collections and an audit log."""
    settings = {
        "GATEWAY_SERVER__PORT": str(port),
        "GATEWAY_SERVER__ADMIN_PORT": str(admin_port),
        "GATEWAY_KNOWLEDGE__DATA": str(folder / "data"),
        "GATEWAY_KNOWLEDGE__PROBE_EVERY": "10",
        "GATEWAY_AUDIT__FOLDER": str(folder / "audit"),
        "GATEWAY_AUDIT__SHARE": "1",
        "GATEWAY_CONFIG": str(folder / "gateway.toml"),
    }
    (folder / "gateway.toml").write_text("[admission.tenant_rates]\npoor = 1\n", encoding="utf-8")
    with _process([sys.executable, "-m", "gateway", "serve"], settings, f"http://127.0.0.1:{admin_port}/readyz"):
        yield


@contextlib.contextmanager
def _prometheus(folder: Path, admin_port: int, port: int) -> Iterator[None]:
    settings = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text(encoding="utf-8"))
    settings["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    settings["scrape_configs"][0]["static_configs"] = [{"targets": [f"127.0.0.1:{admin_port}"]}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    (folder / "rules.yml").write_text(yaml.safe_dump(rules()), encoding="utf-8")
    command = ["prometheus", f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'tsdb'}"]
    command.append(f"--web.listen-address=127.0.0.1:{port}")
    with _process(command, {}, f"http://127.0.0.1:{port}/-/ready"):
        yield


@contextlib.contextmanager
def _process(command: list[str], settings: dict[str, str], ready: str) -> Iterator[None]:
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(command, env=os.environ | settings, cwd=ROOT, stdout=said, stderr=said)
        try:
            until = time.monotonic() + WAIT_SECONDS
            while not _answers(ready):
                if process.poll() is not None or time.monotonic() > until:
                    said.seek(0)
                    raise click.ClickException(f"{command[0]} did not become ready: {said.read()[-2000:]}")
                time.sleep(0.2)
            yield
        finally:
            process.terminate()
            process.wait(60)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def _load(target: str) -> None:
    """Answers of each route, searches, writes, verdicts, and a tenant that asks too much."""
    who = Principal("acme")
    with Client(target, who, 5) as client, Editor(target, who, 5) as editor, Client(target, Principal("poor")) as poor:
        editor.create("help")
        until = time.monotonic() + LOADED_SECONDS
        number = 0
        while time.monotonic() < until:
            number += 1
            answer = client.answer(QUESTIONS[number % len(QUESTIONS)])
            client.answer("Why was it declined?", policy=Policy.MODEL_ONLY)
            with contextlib.suppress(CallFailed):
                poor.answer(QUESTIONS[0])
            if number % 10 == 0:
                editor.upsert("help", [_document(number)])
                client.search("declined card", collection="help")
                client.feedback(answer.audit_id, is_correct=number % 20 == 0)
            time.sleep(0.02)


def _document(number: int) -> Document:
    text = f"It is number {number}."
    return Document(f"d{number}", "A declined card", "", "2026-01-01", text, f"{text}\n\nMore of it.\n")


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


if __name__ == "__main__":
    main()
