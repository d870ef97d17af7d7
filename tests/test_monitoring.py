"""Rules, alerts and the dashboard: the files are what the code says, every alert is tested both ways, and what it names
is there. `make prometheus` holds them against a real Prometheus."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from deploy.monitoring import dashboards
from deploy.monitoring.alerts import ALERTS
from deploy.monitoring.files import ROOT, files, rules, unit_tests
from deploy.monitoring.rules import recorded
from gateway.telemetry.metrics import Metrics

NAME = re.compile(r"\b(?:gateway_|grpc_server_|process_)[a-z0-9_]+\b")
OF_PROMETHEUS = {"process_cpu_seconds_total", "process_max_fds"}


@pytest.mark.parametrize("path", sorted(files()))
def test_the_files_are_what_the_code_says(path: str) -> None:
    assert (ROOT / path).read_text(encoding="utf-8") == files()[path], "python -m deploy.monitoring writes it anew"


def test_every_alert_is_made_to_fire_and_kept_silent() -> None:
    made = [one for is_long in (False, True) for one in unit_tests(is_long)["tests"]]
    expected = {one["name"]: bool(one["alert_rule_test"][0]["exp_alerts"]) for one in made}
    assert len(expected) == len(made) == 2 * len(ALERTS)
    for alert in ALERTS:
        assert (expected[f"{alert.name} fires"], expected[f"{alert.name} silent"]) == (True, False)
        assert alert.silent != alert.fires


def test_every_alert_has_a_section_of_the_runbook() -> None:
    anchors = {line[3:].lower() for line in files()["docs/runbook.md"].splitlines() if line.startswith("## ")}
    (group,) = rules()["groups"]
    alerts = [rule for rule in group["rules"] if "alert" in rule]
    assert len(alerts) == len(ALERTS)
    for rule in alerts:
        page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
        assert (ROOT / page).is_file()
        assert anchor in anchors


def expressions() -> list[str]:
    panels = [panel for _, row in dashboards.ROWS for panel in row]
    return [*recorded().values(), *(one.expr for one in ALERTS), *(q for panel in panels for q in panel.queries)]


@pytest.mark.parametrize("expr", expressions())
def test_what_is_asked_for_is_measured(expr: str) -> None:
    metrics = {
        line.split()[2] for line in Metrics().render()[0].decode().splitlines() if line.startswith("# TYPE ")
    } | OF_PROMETHEUS
    for name in NAME.findall(re.sub(r'"[^"]*"', "", expr)):
        assert re.sub(r"_(bucket|count|sum)$", "", name) in metrics or name in metrics, name
    for name in re.findall(r"gateway:[a-z_]+:[a-z0-9_]+", expr):
        assert name in recorded()


def test_the_dashboard_is_whole() -> None:
    made: dict[str, Any] = json.loads(files()["deploy/grafana/dashboards/gateway.json"])
    panels = made["panels"]
    assert len({one["id"] for one in panels}) == len(panels)
    places = [one["gridPos"] for one in panels]
    assert all(at["x"] >= 0 and at["x"] + at["w"] <= 24 for at in places)
    cells = [
        (x, y) for at in places for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(set(cells)) == len(cells)  # none lies on another
    for one in panels:
        if one["type"] != "row":
            assert one["datasource"]["uid"] == dashboards.DATASOURCE
            assert all(target["expr"] and target["refId"] for target in one["targets"])
    assert made["templating"]["list"][0]["name"] == "instance"


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed: `make prometheus` needs it")
def test_prometheus_reads_the_rules() -> None:
    folder = Path(ROOT) / "deploy/prometheus"
    done = subprocess.run(["promtool", "check", "rules", "rules.yml"], cwd=folder, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout
