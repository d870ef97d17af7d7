"""The files of what is here as code, by their paths in the repository."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from deploy.monitoring import catalogue, dashboards
from deploy.monitoring.alerts import ALERTS, SHORT, Alert
from deploy.monitoring.rules import recorded

ROOT = Path(__file__).parent.parent.parent
RUNBOOK = "docs/runbook.md"
HEAD = "# Written by `python -m deploy.monitoring`, from deploy/monitoring/.\n"
RUNBOOK_HEAD = """# Runbook

One section for each alert of [`rules.yml`](../deploy/prometheus/rules.yml); rows are those of the dashboard
[`gateway.json`](../deploy/grafana/dashboards/gateway.json). `page`: now; `ticket`: within days. Written by
`python -m deploy.monitoring`.
"""
PROMETHEUS: dict[str, Any] = {
    "global": {"scrape_interval": "15s", "evaluation_interval": "15s"},
    "rule_files": ["rules.yml"],
    "scrape_configs": [{"job_name": "gateway", "static_configs": [{"targets": ["127.0.0.1:9464"]}]}],
}
PROVIDERS: dict[str, Any] = {
    "apiVersion": 1,
    "providers": [
        {"name": "gateway", "type": "file", "folder": "Gateway", "options": {"path": "/var/lib/grafana/dashboards"}}
    ],
}
DATASOURCES: dict[str, Any] = {
    "apiVersion": 1,
    "datasources": [
        {
            "name": "Prometheus",
            "uid": dashboards.DATASOURCE,
            "type": "prometheus",
            "url": "http://prometheus:9090",
            "isDefault": True,
        }
    ],
}


def files() -> dict[str, str]:
    """Path -> content."""
    return {
        "deploy/prometheus/rules.yml": _yaml(rules()),
        "deploy/prometheus/rules_test.yml": _yaml(unit_tests(is_long=False)),
        "deploy/prometheus/rules_days_test.yml": _yaml(unit_tests(is_long=True)),
        "deploy/prometheus/prometheus.yml": _yaml(PROMETHEUS),
        "deploy/grafana/provisioning/dashboards/gateway.yml": _yaml(PROVIDERS),
        "deploy/grafana/provisioning/datasources/prometheus.yml": _yaml(DATASOURCES),
        "deploy/grafana/dashboards/gateway.json": json.dumps(dashboards.gateway(), indent=1) + "\n",
        RUNBOOK: runbook(),
        "docs/metrics.md": catalogue.page(),
    }


def rules() -> dict[str, Any]:
    """As Prometheus reads them: in one group, in which what is recorded comes before the alerts that look at it. The
    order of groups is chance."""
    recording = [{"record": name, "expr": expr} for name, expr in recorded().items()]
    return {"groups": [{"name": "gateway", "rules": [*recording, *map(_rule, ALERTS)]}]}


def _rule(alert: Alert) -> dict[str, Any]:
    return {
        "alert": alert.name,
        "expr": alert.expr,
        "for": alert.wait,
        "labels": {"severity": alert.severity},
        "annotations": _annotations(alert),
    }


def _annotations(alert: Alert) -> dict[str, str]:
    return {"summary": alert.says, "runbook_url": f"{RUNBOOK}#{alert.name.lower()}"}


def unit_tests(is_long: bool) -> dict[str, Any]:
    """As promtool reads them: two for each alert. Those over days apart: to evaluate every rule for each of their
    minutes takes a quarter of an hour."""
    made = []
    for alert in ALERTS:
        if (alert.at not in SHORT) != is_long:
            continue
        came = [{"exp_labels": {"severity": alert.severity, **alert.labels}, "exp_annotations": _annotations(alert)}]
        for what, series, expected in (("fires", alert.fires, came), ("silent", alert.silent, [])):
            made.append(
                {
                    "name": f"{alert.name} {what}",
                    "interval": "2m" if is_long else "1m",
                    "input_series": [{"series": name, "values": values} for name, values in series.items()],
                    "alert_rule_test": [{"eval_time": alert.at, "alertname": alert.name, "exp_alerts": expected}],
                }
            )
    return {"rule_files": ["rules.yml"], "evaluation_interval": "30m" if is_long else "1m", "tests": made}


def runbook() -> str:
    """A section for each alert, for people."""
    parts = [RUNBOOK_HEAD]
    parts += [
        f"## {one.name}\n\n`{one.severity}` after {one.wait}. {one.says}\n\n"
        f"- When: `{one.expr}`\n- Look: {one.look}\n- Do: {one.act}\n"
        for one in ALERTS
    ]
    return "\n".join(parts)


def _yaml(content: dict[str, Any]) -> str:
    return HEAD + yaml.safe_dump(content, sort_keys=False, width=100)
