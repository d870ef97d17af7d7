"""The dashboard of a gateway for Grafana, row by row: from what callers see down to what it may be due to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from deploy.monitoring.rules import OBJECTIVES

DATASOURCE = "prometheus"
SCHEMA_VERSION = 38
"""Grafana 10's; newer ones read it."""
WIDE = 24
HERE = 'instance=~"$instance"'
RATE = "$__rate_interval"


@dataclass(frozen=True, slots=True)
class Panel:
    """`queries`: PromQL -> legend. `kind` is Grafana's; `unit` too. `rare`: why there may be no data, empty if there
    always is. `bound`: a red line."""

    title: str
    queries: dict[str, str]
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 8
    rare: str = ""
    bound: float | None = None
    is_stacked: bool = False
    says: str = ""


def _rate(name: str, labels: str = "", by: str = "") -> str:
    inner = f"rate({name}{{{HERE}{',' + labels if labels else ''}}}[{RATE}])"
    return f"sum by ({by}) ({inner})" if by else f"sum({inner})"


def _quantile(q: float, name: str, by: str = "", labels: str = "") -> str:
    groups = f"{by}, le" if by else "le"
    return f"histogram_quantile({q}, {_rate(f'{name}_bucket', labels, groups)})"


def _quantiles(name: str, by: str = "") -> dict[str, str]:
    legend = f" {{{{{by}}}}}" if by else ""
    return {_quantile(0.5, name, by): f"p50{legend}", _quantile(0.99, name, by): f"p99{legend}"}


PROBE = "gateway_knowledge_probe"
ANSWERS = "gateway_route_decisions_total"
LATENCY = "gateway_request_duration_seconds"
ROWS: tuple[tuple[str, Sequence[Panel]], ...] = (
    (
        "1 Objectives",
        [
            *(
                Panel(
                    f"{one.name}: times its budget",
                    {f"{one.ratio(window)} / {one.budget:g}": window for window in ("1h", "6h", "3d")},
                    "none",
                    bound=1.0,
                    says=f"1: {one.says} use up exactly the budget of {one.promised:.1%} good.",
                )
                for one in OBJECTIVES
            ),
            Panel("answers a second", {_rate(ANSWERS): "answers"}, "reqps"),
        ],
    ),
    (
        "2 Rate, errors, duration",
        [
            Panel(
                "calls by code",
                {_rate("grpc_server_handled_total", "", "grpc_method, grpc_code"): "{{grpc_method}} {{grpc_code}}"},
                "reqps",
            ),
            Panel("time of an answer by route", _quantiles(LATENCY, "route"), "s", bound=0.2),
            Panel("in flight", {f"sum(gateway_inflight_requests{{{HERE}}})": "questions"}),
        ],
    ),
    (
        "3 From received to answered",
        [
            Panel("answers by route", {_rate(ANSWERS, "", "route"): "{{route}}"}, "reqps", is_stacked=True),
            Panel("why", {_rate(ANSWERS, "", "route, reason"): "{{route}}: {{reason}}"}, "reqps"),
            Panel(
                "refused, left, dropped",
                {
                    _rate("gateway_admission_rejected_total", "", "reason"): "refused: {{reason}}",
                    _rate("gateway_cancelled_total", "", "phase"): "left in {{phase}}",
                    _rate("gateway_queue_dropped_total"): "dropped",
                },
                "reqps",
            ),
        ],
    ),
    (
        "4 Confidence, certificate, drift",
        [
            Panel("confidence", {_rate("gateway_confidence_bucket", "", "le"): "{{le}}"}, "short", "heatmap"),
            Panel(
                "threshold, and the median by route",
                {
                    f"max(gateway_confidence_threshold{{{HERE}}})": "threshold",
                    _quantile(0.5, "gateway_confidence", "route"): "{{route}}",
                },
                "percentunit",
            ),
            Panel(
                "certificate",
                {f"max by (status) (gateway_certificate_status{{{HERE}}})": "{{status}}"},
                kind="state-timeline",
            ),
            Panel(
                "evidence of drift (an alarm at 0)",
                {f"max by (monitor) (gateway_drift_evidence{{{HERE}}})": "{{monitor}}"},
                bound=0.0,
            ),
            Panel(
                "judged answers: error, bounds",
                {
                    f"max by (route) (gateway_audit_error_ratio{{{HERE}}})": "{{route}}",
                    f"max by (route) (gateway_audit_error_lower_ratio{{{HERE}}})": "{{route}}, lower",
                    f"max by (route) (gateway_audit_error_upper_ratio{{{HERE}}})": "{{route}}, upper",
                },
                "percentunit",
                rare="only where drawn answers were judged",
            ),
            Panel("retrieval: cosine of the best passage", _quantiles("gateway_retrieval_score"), "percentunit"),
        ],
    ),
    (
        "5 Where the time goes",
        [
            Panel(
                "p50 by stage",
                {_quantile(0.5, "gateway_stage_duration_seconds", "stage"): "{{stage}}"},
                "s",
                width=12,
                is_stacked=True,
            ),
            Panel(
                "p99 by stage",
                {_quantile(0.99, "gateway_stage_duration_seconds", "stage"): "{{stage}}"},
                "s",
                width=12,
                is_stacked=True,
            ),
        ],
    ),
    (
        "6 Batches",
        [
            Panel("questions a pass", _quantiles("gateway_batch_size")),
            Panel(
                "waiting",
                {
                    f"sum(gateway_queue_requests{{{HERE}}})": "questions",
                    f"sum(gateway_queue_cost_seconds{{{HERE}}})": "seconds of work",
                },
            ),
            Panel(
                "tokens a second",
                {_rate("gateway_tokens_total"): "computed", _rate("gateway_wasted_tokens_total"): "for nobody"},
            ),
        ],
    ),
    (
        "7 Overload",
        [
            Panel("shed level", {f"max(gateway_shed_level_ratio{{{HERE}}})": "level"}, "percentunit", bound=0.3),
            Panel(
                "refused by criticality",
                {_rate("gateway_admission_rejected_total", "", "reason, criticality"): "{{reason}} {{criticality}}"},
                "reqps",
            ),
            Panel(
                "circuit breakers",
                {
                    f"max by (tier, state) (gateway_breaker_state{{{HERE}}})": "{{tier}} {{state}}",
                    _rate("gateway_tier_failures_total", "", "tier"): "{{tier}} failures/s",
                },
                kind="timeseries",
            ),
        ],
    ),
    (
        "8 Knowledge and audit",
        [
            Panel(
                "documents and passages",
                {
                    f"max by (collection) (gateway_knowledge_documents{{{HERE}}})": "{{collection}} documents",
                    f"max by (collection) (gateway_knowledge_passages{{{HERE}}})": "{{collection}} passages",
                    f"max(gateway_knowledge_stored_documents{{{HERE}}})": "stored documents",
                },
            ),
            Panel(
                "seconds since the last write",
                {f"time() - (max(gateway_knowledge_last_write_timestamp_seconds{{{HERE}}}) > 0)": "since"},
                "s",
            ),
            Panel(
                "recall of searches by graph",
                {f"{_rate(f'{PROBE}_found_total')} / ({_rate(f'{PROBE}_wanted_total')} > 0)": "recall"},
                "percentunit",
                rare="one search in a thousand is compared",
            ),
            Panel(
                "segments",
                {
                    f"max(gateway_knowledge_stored_segments{{{HERE}}})": "all",
                    f"max(gateway_knowledge_unkept_segments{{{HERE}}})": "in memory alone",
                },
            ),
            Panel(
                "audit records a second",
                {_rate("gateway_audit_written_total"): "written", _rate("gateway_audit_dropped_total"): "dropped"},
                "reqps",
            ),
            Panel("verdicts", {_rate("gateway_feedback_total", "", "verdict"): "{{verdict}}"}, "reqps"),
        ],
    ),
    (
        "9 The process",
        [
            Panel("event loop lag", _quantiles("gateway_event_loop_lag_seconds"), "s", bound=0.05),
            Panel("memory", {f"process_resident_memory_bytes{{{HERE}}}": "{{instance}}"}, "bytes"),
            Panel("CPU", {f"rate(process_cpu_seconds_total{{{HERE}}}[{RATE}])": "{{instance}}"}, "percentunit"),
            Panel("open files", {f"process_open_fds{{{HERE}}}": "{{instance}}"}),
            Panel("up", {f"up{{{HERE}}}": "{{instance}}"}),
            Panel("not let in", {_rate("gateway_auth_failures_total", "", "reason"): "{{reason}}"}, "reqps"),
        ],
    ),
    (
        "10 Device",
        [
            Panel(
                "runs elsewhere than it was started",
                {f"max by (reason) (gateway_degraded{{{HERE}}})": "{{reason}}"},
                width=12,
            ),
            Panel("provider", {f"gateway_model_info{{{HERE}}}": "{{bundle}} {{precision}} on {{provider}}"}, width=12),
        ],
    ),
    (
        "11 What was changed",
        [
            Panel(
                "bundle loaded",
                {f"gateway_model_loaded_timestamp_seconds{{{HERE}}} * 1000": "{{instance}}"},
                "dateTimeAsIso",
                "stat",
            ),
            Panel(
                "files read again",
                {f"sum by (what, outcome) (increase(gateway_reloads_total{{{HERE}}}[{RATE}]))": "{{what}} {{outcome}}"},
                rare="only where TLS, keys or tokens are configured",
            ),
            Panel(
                "candidate beside it",
                {_rate("gateway_shadow_answers_total", "", "agreement"): "{{agreement}}"},
                "reqps",
            ),
        ],
    ),
)


def gateway() -> dict[str, Any]:
    """As Grafana imports it."""
    panels: list[dict[str, Any]] = []
    at = 0
    for title, row in ROWS:
        panels.append(
            _placed({"type": "row", "title": title, "collapsed": False, "panels": []}, len(panels), 0, at, WIDE, 1)
        )
        at, across = at + 1, 0
        for one in row:
            if across + one.width > WIDE:
                at, across = at + 8, 0
            panels.append(_placed(_panel(one), len(panels), across, at, one.width, 8))
            across += one.width
        at += 8
    return {
        "uid": "gateway",
        "title": "Gateway",
        "tags": ["gateway"],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [_instances()]},
        "annotations": {"list": [_restarts()]},
        "panels": panels,
    }


def _placed(panel: dict[str, Any], number: int, x: int, y: int, w: int, h: int) -> dict[str, Any]:
    return {"id": number + 1, "gridPos": {"x": x, "y": y, "w": w, "h": h}, **panel}


def _panel(one: Panel) -> dict[str, Any]:
    custom: dict[str, Any] = {"fillOpacity": 20 if one.is_stacked else 0, "lineWidth": 1, "showPoints": "never"}
    if one.is_stacked:
        custom["stacking"] = {"mode": "normal"}
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if one.bound is not None:
        steps.append({"color": "red", "value": one.bound})
        custom["thresholdsStyle"] = {"mode": "line"}
    defaults = {"unit": one.unit, "custom": custom, "thresholds": {"mode": "absolute", "steps": steps}}
    return {
        "type": one.kind,
        "title": one.title,
        "description": one.says,
        "datasource": {"type": "prometheus", "uid": DATASOURCE},
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": {"tooltip": {"mode": "multi"}} if one.kind == "timeseries" else {},
        "targets": [
            {
                "refId": chr(ord("A") + at),
                "expr": expr,
                "legendFormat": legend,
                "format": "heatmap" if one.kind == "heatmap" else "time_series",
            }
            for at, (expr, legend) in enumerate(one.queries.items())
        ],
    }


def _instances() -> dict[str, Any]:
    return {
        "name": "instance",
        "label": "instance",
        "type": "query",
        "datasource": {"type": "prometheus", "uid": DATASOURCE},
        "query": {"query": "label_values(gateway_build_info, instance)", "refId": "instances"},
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
    }


def _restarts() -> dict[str, Any]:
    return {
        "name": "started",
        "enable": True,
        "iconColor": "orange",
        "datasource": {"type": "prometheus", "uid": DATASOURCE},
        "expr": 'changes(process_start_time_seconds{job="gateway"}[1m]) > 0',
        "titleFormat": "{{instance}} started",
    }
