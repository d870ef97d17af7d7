"""Versions in MLflow: what is asked of its REST API, and what is said where it does not answer as it should."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gateway.cli.main import cli
from tests import tiny


class Server:
    """As much of a tracking server as is asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []
        self.tokens: set[str | None] = set()
        self.experiments: dict[str, str] = {}
        self.failure = ""
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(self.path, None)

            def do_POST(self) -> None:
                self._answer(self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

            def _answer(self, path: str, body: Any) -> None:
                server.tokens.add(self.headers["Authorization"])
                code, said = server.answered(path.removeprefix("/api/2.0/mlflow/"), body)
                self.send_response(code)
                self.end_headers()
                self.wfile.write(json.dumps(said).encode())

            def log_message(self, *_: object) -> None:
                pass

        self.http = HTTPServer(("127.0.0.1", 0), Handler)
        self.uri = f"http://127.0.0.1:{self.http.server_port}"

    def answered(self, path: str, body: Any) -> tuple[int, Any]:
        self.asked.append((path, body))
        if self.failure:
            return 400, {"error_code": "INVALID_PARAMETER_VALUE", "message": self.failure}
        if path.startswith("experiments/get-by-name?experiment_name="):
            name = path.partition("=")[2]
            if name not in self.experiments:
                return 404, {"error_code": "RESOURCE_DOES_NOT_EXIST"}
            return 200, {"experiment": {"experiment_id": self.experiments[name]}}
        if path == "experiments/create":
            return 200, {"experiment_id": self.experiments.setdefault(body["name"], "7")}
        return 200, {"run": {"info": {"run_id": "abc"}}} if path == "runs/create" else {}


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    serving = threading.Thread(target=made.http.serve_forever)
    serving.start()
    yield made
    made.http.shutdown()
    serving.join()
    made.http.server_close()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("models")
    tiny.write(made / "tiny" / "1", data={"train.csv": "0" * 64})
    return made


def log(root: Path, uri: str) -> Result:
    return CliRunner().invoke(cli, ["models", "log", "tiny/1", "--mlflow", uri, "--models", str(root)])


def test_a_version_is_a_finished_run(root: Path, server: Server) -> None:
    result = log(root, server.uri)
    assert result.exit_code == 0, result.output
    assert "tiny/1 is run abc of cascade-gateway" in result.output
    paths = [path.partition("?")[0] for path, _ in server.asked]
    assert paths == [
        "experiments/get-by-name",
        "experiments/create",
        "runs/create",
        "runs/log-batch",
        "runs/update",
    ]
    created, batch, updated = (body for _, body in server.asked[2:])
    assert (created["experiment_id"], created["run_name"]) == ("7", "tiny/1")
    metrics = {one["key"]: one["value"] for one in batch["metrics"]}
    assert metrics["accuracy"] == 0.9
    assert (metrics["int8.informed.threshold"], metrics["int8.alone.coverage"]) == (0.75, 0.75)
    params = {one["key"]: one["value"] for one in batch["params"]}
    assert params["data/0"] == f"train.csv {'0' * 64}"
    assert (params["alpha"], params["certificate"], params["parent"]) == ("0.05", "matches", "")
    assert updated["status"] == "FINISHED"


def test_an_experiment_that_is_there_is_used(root: Path, server: Server) -> None:
    server.experiments["cascade-gateway"] = "3"
    assert log(root, server.uri).exit_code == 0
    assert [body["experiment_id"] for path, body in server.asked if path == "runs/create"] == ["3"]
    assert all(path != "experiments/create" for path, _ in server.asked)


def test_a_token_goes_with_every_request(root: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "secret")
    assert log(root, server.uri).exit_code == 0
    assert server.tokens == {"Bearer secret"}


def test_what_the_server_says_is_shown(root: Path, server: Server) -> None:
    server.failure = "no such thing"
    result = log(root, server.uri)
    assert result.exit_code == 3
    assert "no such thing" in result.output


def test_no_server_is_said(root: Path) -> None:
    result = log(root, "http://127.0.0.1:1")
    assert result.exit_code == 3
    assert "is it the address of a tracking server?" in result.output


def test_a_file_is_no_server(root: Path) -> None:
    result = log(root, "file:///tmp/runs")
    assert result.exit_code == 2
    assert "must begin with http://" in result.output
