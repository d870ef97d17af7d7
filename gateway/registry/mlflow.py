"""A version as a run of MLflow, for those who keep figures of models there: by its REST API, without its package.

https://mlflow.org/docs/latest/api_reference/rest-api.html, version 2.0 of it; tried with MLflow 3.17.
"""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from gateway.errors import Unavailable

API = "/api/2.0/mlflow/"
PATIENCE = 30.0
"""Seconds for one request."""
LONGEST = 500
"""Characters of a parameter's value, as all stores of MLflow take them."""


class Tracking:
    """A tracking server at `uri` (http or https); `token` goes with every request, if there is one.

    Methods raise Unavailable, with what the server says.
    """

    def __init__(self, uri: str, token: str = "") -> None:
        if urllib.parse.urlsplit(uri).scheme not in ("http", "https"):
            raise ValueError(f"{uri}: must begin with http:// or https://, as a tracking server's address does")
        self._root = uri.rstrip("/") + API
        self._headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})

    def log(self, experiment: str, name: str, facts: dict[str, Any]) -> str:
        """Write a finished run of that name, with the figures of `facts.of`. Returns its id."""
        now = round(1e3 * time.time())
        started = {"experiment_id": self._experiment(experiment), "run_name": name, "start_time": now}
        run_id = str(self._asked("runs/create", started)["run"]["info"]["run_id"])
        metrics = [{"key": key, "value": value, "timestamp": now, "step": 0} for key, value in figures(facts).items()]
        params = [{"key": key, "value": value[:LONGEST]} for key, value in settings(facts).items()]
        self._asked("runs/log-batch", {"run_id": run_id, "metrics": metrics, "params": params})
        self._asked("runs/update", {"run_id": run_id, "status": "FINISHED", "end_time": now})
        return run_id

    def _experiment(self, name: str) -> str:
        """The id of the experiment of that name, which is made where there is none."""
        query = urllib.parse.urlencode({"experiment_name": name})
        found = self._asked(f"experiments/get-by-name?{query}", None, may_be_missing=True)
        if not found:
            return str(self._asked("experiments/create", {"name": name})["experiment_id"])
        return str(found["experiment"]["experiment_id"])

    def _asked(self, path: str, body: dict[str, Any] | None, may_be_missing: bool = False) -> dict[str, Any]:
        """The answer to a GET, or to a POST of `body`; {} where what is asked for may be missing, and is."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._root + path, data, self._headers)  # noqa: S310  # its scheme was checked
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as response:  # noqa: S310
                found: dict[str, Any] = json.load(response)
                return found
        except urllib.error.HTTPError as error:
            with error:
                said = error.read(1000).decode(errors="replace")
            if may_be_missing and error.code == http.client.NOT_FOUND and "RESOURCE_DOES_NOT_EXIST" in said:
                return {}
            raise Unavailable(f"{self._root}{path}: {error.code}: {said or error.reason}") from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Unavailable(f"{self._root}{path}: {error}; is it the address of a tracking server?") from None


def figures(facts: dict[str, Any]) -> dict[str, float]:
    """The metrics, the sizes, and of each certified confidence what it promises."""
    found: dict[str, float] = {name: float(facts[name]) for name in ("layers", "dim", "labels", "bytes")}
    found |= facts["metrics"]
    for precision, confidences in facts["certificate"].get("variants", {}).items():
        for name, promise in confidences.items():
            for key, value in promise.items():
                if isinstance(value, int | float):
                    found[f"{precision}.{name}.{key}"] = float(value)
    return found


def settings(facts: dict[str, Any]) -> dict[str, str]:
    """The lineage, and what the certificate is of; data files by their sha256."""
    lineage, given = facts["lineage"], facts["certificate"]
    parent = lineage["parent"]
    found = {
        "manifest_sha256": facts["manifest_sha256"],
        "created": facts["created"],
        "recipe_sha256": lineage["recipe_sha256"],
        "base": lineage["base"],
        "teacher": lineage["teacher"],
        "parent": f"{parent['name']}/{parent['version']} {parent['manifest_sha256']}" if parent else "",
        "certificate": given["problem"] or "matches",
    }
    found |= {key: str(given[key]) for key in ("alpha", "assurance", "oos_share") if key in given}
    return found | {
        f"data/{number}": f"{name} {sha256}" for number, (name, sha256) in enumerate(lineage["data"].items())
    }
