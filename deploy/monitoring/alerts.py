"""Every alert: when it fires, what it means, where to look and what to do; with series that make it fire, and others
that are near and must not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from deploy.monitoring.rules import OBJECTIVES

PAGE, TICKET = "page", "ticket"
INSTANCE = {"instance": "a"}
SHORT = ("1h", "2h", "3h")
Series = Mapping[str, str]
"""Series -> values of each step, as promtool writes them."""


@dataclass(frozen=True, slots=True)
class Alert:
    """`wait` is how long it has to hold, `at` after how long the tests look: one of SHORT in steps of a minute, beyond
    that of two, and rules are then evaluated less often. `labels` are those of the alert that `fires` brings."""

    name: str
    expr: str
    wait: str
    severity: str
    says: str
    look: str
    act: str
    fires: Series
    silent: Series
    at: str = "1h"
    labels: Mapping[str, str] = field(default_factory=lambda: INSTANCE)


def _burns() -> list[Alert]:
    """More than one window each, as Google's SRE workbook has it: the long one says that it matters, the short one that
    it still goes on."""
    found = []
    for one in OBJECTIVES:
        for suffix, factor, long, short, severity, at, steps in (
            ("Fast", 14.4, "1h", "5m", PAGE, "1h", 61),
            ("", 6.0, "6h", "30m", PAGE, "6h", 190),
            ("Slow", 3.0, "1d", "2h", TICKET, "1d", 740),
            ("Creeping", 1.0, "3d", "6h", TICKET, "3d", 2200),
        ):
            bound = f"{factor:g} * {one.budget:g}"
            share = factor * one.budget
            bad, good = 60 * share * 2, 60 * share / 2
            found.append(
                Alert(
                    f"Gateway{one.name.title()}Burn{suffix}",
                    f"{one.ratio(long)} > {bound} and {one.ratio(short)} > {bound}",
                    "2m",
                    severity,
                    f"Of {one.says}, there are {factor:g} times as many as {one.promised:.1%} good allow, over {long}.",
                    "Row 1 and 2 of the dashboard: since when, on which instance, which code or stage.",
                    "Undo what was changed then (`gateway models rollback`, the last settings); else see the alerts "
                    "beside it, which name causes. At this pace the budget of 30 days lasts "
                    f"{30 / factor:.1f} days.",
                    _events(one.name, bad, steps),
                    _events(one.name, good, steps),
                    at,
                    {},
                )
            )
    return found


def _events(objective: str, bad: float, steps: int) -> Series:
    """So many of 60 a step are bad."""
    if objective == "availability":
        call = 'grpc_server_handled_total{grpc_service="gateway.v1.Answers",grpc_code="%s"}'
        return {call % "OK": f"0+{60 - bad:g}x{steps}", call % "Internal": f"0+{bad:g}x{steps}"}
    return {
        "gateway_request_duration_seconds_count": f"0+60x{steps}",
        'gateway_request_duration_seconds_bucket{le="0.2"}': f"0+{60 - bad:g}x{steps}",
    }


def _gauge(name: str, labels: str = "") -> str:
    return f'{name}{{instance="a"{"," + labels if labels else ""}}}'


ALERTS: tuple[Alert, ...] = (
    *_burns(),
    Alert(
        "GatewayDown",
        'up{job="gateway"} == 0',
        "2m",
        PAGE,
        "Prometheus cannot read a gateway's admin port.",
        "Is the process there, and does `/livez` of its admin port answer? Its log, and `gateway doctor`.",
        "Start it again; if it ends again and again, see GatewayRestarts.",
        {'up{job="gateway",instance="a"}': "1x5 0x60"},
        {'up{job="gateway",instance="a"}': "1x60"},
        labels={"job": "gateway", "instance": "a"},
    ),
    Alert(
        "GatewayRestarts",
        "changes(process_start_time_seconds[30m]) > 3",
        "1m",
        PAGE,
        "A gateway has been started again more than three times in half an hour.",
        "The end of its log before each start, and the kernel's log for who was out of memory.",
        "`gateway doctor` with the same settings names what keeps it from serving.",
        {_gauge("process_start_time_seconds"): "0+60x60"},
        {_gauge("process_start_time_seconds"): "100x60"},
    ),
    Alert(
        "GatewayShedding",
        "gateway_shed_level_ratio > 0.3",
        "10m",
        PAGE,
        "Questions are refused because the queue does not get short.",
        "Row 7: whose questions, and how much of the model's time they take. Row 5: has a stage become slower?",
        "Add replicas or workers; give a tenant that asks too much a quota (`admission.tenant_rates`).",
        {_gauge("gateway_shed_level_ratio"): "0.5x60"},
        {_gauge("gateway_shed_level_ratio"): "0.2x60"},
    ),
    Alert(
        "GatewayRejecting",
        'sum by (instance) (rate(gateway_admission_rejected_total{reason!="quota"}[5m])) > 0.05 * sum by (instance) '
        "(rate(gateway_request_duration_seconds_count[5m]))",
        "10m",
        TICKET,
        "More than one question in twenty is refused before work, not for a quota.",
        "Row 7, by reason: `overload` and `shed` want capacity, `deadline` longer deadlines or shorter queues.",
        "As for GatewayShedding; ask the callers why their deadlines are so short.",
        {
            _gauge("gateway_admission_rejected_total", 'reason="deadline"'): "0+60x60",
            _gauge("gateway_request_duration_seconds_count"): "0+600x60",
        },
        {
            _gauge("gateway_admission_rejected_total", 'reason="quota"'): "0+60x60",
            _gauge("gateway_admission_rejected_total", 'reason="deadline"'): "0+6x60",
            _gauge("gateway_request_duration_seconds_count"): "0+600x60",
        },
    ),
    Alert(
        "GatewayFallbackShift",
        'gateway:route:share5m{route="retrieval"} > 2 * gateway:route:share1d{route="retrieval"}'
        ' and gateway:route:share5m{route="retrieval"} - gateway:route:share1d{route="retrieval"} > 0.05',
        "15m",
        TICKET,
        "Twice as many questions as on the day before fall back to retrieval.",
        "Row 3 and 4: the confidence, the reasons, and which collection or tenant (`/status`, drift).",
        "If people ask about something new, harvest it (`gateway harvest`); if the bundle was changed, roll it back.",
        {
            'gateway_route_decisions_total{route="model"}': "0+180x720 129600+60x30",
            'gateway_route_decisions_total{route="retrieval"}': "0+20x720 14400+140x30",
        },
        {
            'gateway_route_decisions_total{route="model"}': "0+180x750",
            'gateway_route_decisions_total{route="retrieval"}': "0+20x750",
        },
        "25h",
        {"route": "retrieval"},
    ),
    Alert(
        "GatewayAbstainSpike",
        'gateway:route:share5m{route="abstain"} > 2 * gateway:route:share1d{route="abstain"}'
        ' and gateway:route:share5m{route="abstain"} - gateway:route:share1d{route="abstain"} > 0.1',
        "15m",
        TICKET,
        "Twice as many questions as on the day before are not answered.",
        "Row 3, the reasons: `no_evidence` wants documents, `retrieval_unavailable` and `model_unavailable` a repair.",
        "See GatewayTierFailing and GatewayKnowledgeStale; harvest what is asked and not answered.",
        {
            'gateway_route_decisions_total{route="model"}': "0+180x720 129600+100x30",
            'gateway_route_decisions_total{route="abstain"}': "0+20x720 14400+100x30",
        },
        {
            'gateway_route_decisions_total{route="model"}': "0+180x720 129600+170x30",
            'gateway_route_decisions_total{route="abstain"}': "0+20x720 14400+30x30",
        },
        "25h",
        {"route": "abstain"},
    ),
    Alert(
        "GatewayDegradedAnswers",
        "gateway:degraded:ratio5m > 0.05",
        "10m",
        TICKET,
        "More than one answer in twenty was given without a tier that its policy wanted.",
        "Row 3, the reasons: `budget` is time, the others are failures.",
        "For `budget`: longer deadlines, fewer questions at once. Else see GatewayBreakerOpen.",
        {
            'gateway_request_duration_seconds_count{outcome="ok"}': "0+50x60",
            'gateway_request_duration_seconds_count{outcome="degraded"}': "0+10x60",
        },
        {
            'gateway_request_duration_seconds_count{outcome="ok"}': "0+99x60",
            'gateway_request_duration_seconds_count{outcome="degraded"}': "0+1x60",
        },
        labels={},
    ),
    Alert(
        "GatewayCertificateStale",
        'gateway_certificate_status{status="stale"} == 1',
        "5m",
        TICKET,
        "The certificate does not hold any more: questions have drifted, or too many answers were judged wrong. The "
        "stricter threshold is in use, so that fewer questions are the model's.",
        "`/status` names why and for which tenants and collections; `gateway drift`.",
        "Look at what is asked (`gateway audit`), harvest, train and certify; `gateway drift reset` where that was no "
        "drift.",
        {_gauge("gateway_certificate_status", 'status="stale"'): "1x60"},
        {_gauge("gateway_certificate_status", 'status="stale"'): "0x60"},
        labels={"instance": "a", "status": "stale"},
    ),
    Alert(
        "GatewayCertificateInsufficient",
        'gateway_certificate_status{status="insufficient"} == 1',
        "1h",
        TICKET,
        "The bundle is served without a promise.",
        "`/status`, certificate_reason.",
        '`gateway certify` with more questions, or `model.uncertified = "refuse"`.',
        {_gauge("gateway_certificate_status", 'status="insufficient"'): "1x180"},
        {_gauge("gateway_certificate_status", 'status="insufficient"'): "1x30 0x150"},
        "2h",
        {"instance": "a", "status": "insufficient"},
    ),
    Alert(
        "GatewayDrift",
        "sum by (instance) (gateway_drift_alarms) > 0",
        "1m",
        TICKET,
        "Questions are no longer like those that the certificate was made with.",
        "`/status` and `gateway drift` name the monitor, the tenant and the collection; row 4.",
        "As for GatewayCertificateStale.",
        {_gauge("gateway_drift_alarms", 'monitor="psi",scope="all"'): "1x60"},
        {_gauge("gateway_drift_alarms", 'monitor="psi",scope="all"'): "0x60"},
    ),
    Alert(
        "GatewayWrongAnswers",
        'gateway_audit_error_lower_ratio{route="model"} > on(instance) group_left() gateway_certified_risk_ratio'
        " and on(instance) gateway_certified_risk_ratio > 0",
        "5m",
        PAGE,
        "By the answers that chance drew and people judged, the model is for sure wrong more often than was certified.",
        "`gateway audit` for those that were judged wrong: is it one subject?",
        "Where `audit.tighten` is on, the stricter threshold is in use already. Train and certify.",
        {
            _gauge("gateway_audit_error_lower_ratio", 'route="model"'): "0.08x60",
            _gauge("gateway_certified_risk_ratio"): "0.05x60",
        },
        {
            _gauge("gateway_audit_error_lower_ratio", 'route="model"'): "0.02x60",
            _gauge("gateway_certified_risk_ratio"): "0.05x60",
        },
        labels={"instance": "a", "route": "model"},
    ),
    Alert(
        "GatewayBreakerOpen",
        'sum by (instance, tier) (gateway_breaker_state{state!="closed"}) > 0',
        "2m",
        PAGE,
        "A tier has failed again and again and is left alone: without the model words answer, without searches "
        "the model does where it is sure.",
        "The log names each failure, with the cause.",
        "Mend the cause; the tier is tried every few seconds, and taken back by itself.",
        {_gauge("gateway_breaker_state", 'tier="model",state="open"'): "1x60"},
        {
            _gauge("gateway_breaker_state", 'tier="model",state="closed"'): "1x60",
            _gauge("gateway_breaker_state", 'tier="model",state="open"'): "0x60",
        },
        labels={"instance": "a", "tier": "model"},
    ),
    Alert(
        "GatewayTierFailing",
        "sum by (instance, tier) (rate(gateway_tier_failures_total[5m])) > 0.1",
        "10m",
        TICKET,
        "A tier fails a question now and then, each of which was answered without it.",
        "The log names each failure.",
        "A bad question fails alone; a failing disk or device does not stay that way.",
        {_gauge("gateway_tier_failures_total", 'tier="knowledge"'): "0+12x60"},
        {_gauge("gateway_tier_failures_total", 'tier="knowledge"'): "0+1x60"},
        labels={"instance": "a", "tier": "knowledge"},
    ),
    Alert(
        "GatewayDeviceLost",
        "gateway_degraded > 0",
        "1m",
        PAGE,
        "The model does not run on the device that it was started on.",
        "`nvidia-smi`, the kernel's log; `/status` says since when and what answers.",
        "Start the gateway again once the device is back: until then the CPU answers, with less capacity.",
        {_gauge("gateway_degraded", 'reason="device_lost"'): "1x60"},
        {_gauge("gateway_degraded", 'reason="device_lost"'): "0x60"},
        labels={"instance": "a", "reason": "device_lost"},
    ),
    Alert(
        "GatewayLoopLag",
        "histogram_quantile(0.99, sum by (instance, le) (rate(gateway_event_loop_lag_seconds_bucket[5m]))) > 0.05",
        "5m",
        TICKET,
        "The event loop wakes late, which every question waits on top of what histograms show.",
        "Row 9: is the process short of CPU? Is something else on its cores?",
        "Give each worker a core of its own; fewer workers than cores.",
        {
            _gauge("gateway_event_loop_lag_seconds_bucket", 'le="0.05"'): "0+100x60",
            _gauge("gateway_event_loop_lag_seconds_bucket", 'le="0.1"'): "0+200x60",
            _gauge("gateway_event_loop_lag_seconds_bucket", 'le="+Inf"'): "0+200x60",
        },
        {
            _gauge("gateway_event_loop_lag_seconds_bucket", 'le="0.05"'): "0+200x60",
            _gauge("gateway_event_loop_lag_seconds_bucket", 'le="0.1"'): "0+200x60",
            _gauge("gateway_event_loop_lag_seconds_bucket", 'le="+Inf"'): "0+200x60",
        },
    ),
    *(
        Alert(
            name,
            f"gateway_tls_not_after_timestamp_seconds - time() < {days} * 86400",
            "10m",
            severity,
            f"A TLS certificate ends in less than {days} days.",
            "Which one, the label `certificate` says; `gateway doctor` names its file.",
            "Put a new one in the place of its file: it is taken at the next handshake, without a restart.",
            {_gauge("gateway_tls_not_after_timestamp_seconds", 'certificate="server"'): f"{days * 86400 - 3600}x60"},
            {_gauge("gateway_tls_not_after_timestamp_seconds", 'certificate="server"'): f"{days * 86400 + 86400}x60"},
            labels={"instance": "a", "certificate": "server"},
        )
        for name, days, severity in (
            ("GatewayTlsCertificateEnds", 14, TICKET),
            ("GatewayTlsCertificateEndsSoon", 2, PAGE),
        )
    ),
    Alert(
        "GatewayReloadRejected",
        'increase(gateway_reloads_total{outcome="rejected"}[30m]) > 0',
        "0m",
        TICKET,
        "A file that was changed could not be read: the one before stays in use.",
        "The log says what is wrong with it, and where.",
        "Mend the file; it is read again when it changes.",
        {_gauge("gateway_reloads_total", 'what="keys",outcome="rejected"'): "0x40 1x20"},
        {
            _gauge("gateway_reloads_total", 'what="keys",outcome="rejected"'): "1x60",
            _gauge("gateway_reloads_total", 'what="keys",outcome="accepted"'): "0+1x60",
        },
        labels={"instance": "a", "what": "keys", "outcome": "rejected"},
    ),
    Alert(
        "GatewayAuthFailures",
        "sum by (instance, reason) (rate(gateway_auth_failures_total[5m])) > 1",
        "10m",
        TICKET,
        "Somebody is not let in, again and again.",
        "The log names the caller where it is known; `expired` and `scope` are a customer's, `unknown` may be a guess.",
        "`gateway keys list`; a guesser is for the firewall.",
        {_gauge("gateway_auth_failures_total", 'reason="unknown"'): "0+120x60"},
        {_gauge("gateway_auth_failures_total", 'reason="unknown"'): "0+6x60"},
        labels={"instance": "a", "reason": "unknown"},
    ),
    Alert(
        "GatewayJwksOld",
        "time() - gateway_jwks_fetched_timestamp_seconds > 6 * 3600",
        "10m",
        TICKET,
        "The keys that tokens are verified with could not be fetched for six hours; after a day no token holds.",
        "The log says why. Can the gateway's machine reach the issuer?",
        "Mend the way there, or give a file (`tokens.jwks`).",
        {_gauge("gateway_jwks_fetched_timestamp_seconds", 'issuer="i"'): "0x300"},
        {_gauge("gateway_jwks_fetched_timestamp_seconds", 'issuer="i"'): "0+120x300"},
        "9h",
        {"instance": "a", "issuer": "i"},
    ),
    Alert(
        "GatewayAuditFailing",
        "gateway_audit_failing > 0",
        "5m",
        PAGE,
        "The audit log cannot be written; answers go on.",
        "The log says why; the disk of `audit.folder`.",
        "Make room, or set `audit.max_mb` lower.",
        {_gauge("gateway_audit_failing"): "1x60"},
        {_gauge("gateway_audit_failing"): "0x60"},
    ),
    Alert(
        "GatewayAuditDropping",
        "increase(gateway_audit_dropped_total[15m]) > 0",
        "0m",
        TICKET,
        "Answers were given of which the audit log has nothing.",
        "Row 8; is the disk slow?",
        "Raise `audit.waiting`, or give the log a faster disk.",
        {_gauge("gateway_audit_dropped_total"): "0x50 5x10"},
        {_gauge("gateway_audit_dropped_total"): "5x60"},
    ),
    Alert(
        "GatewayRecallLow",
        "sum by (instance) (rate(gateway_knowledge_probe_found_total[1h])) / "
        "(sum by (instance) (rate(gateway_knowledge_probe_wanted_total[1h])) > 0) < 0.95",
        "30m",
        TICKET,
        "Searches by graph miss more than one in twenty of the nearest documents.",
        "Row 8. Has a collection become very large, or do rights go by subject?",
        "`gateway knowledge compact`; a restart builds graphs that are in memory alone.",
        {
            _gauge("gateway_knowledge_probe_found_total"): "0+9x180",
            _gauge("gateway_knowledge_probe_wanted_total"): "0+10x180",
        },
        {
            _gauge("gateway_knowledge_probe_found_total"): "0+99x180",
            _gauge("gateway_knowledge_probe_wanted_total"): "0+100x180",
        },
        "3h",
    ),
    Alert(
        "GatewaySegmentsUnkept",
        "gateway_knowledge_unkept_segments > 0",
        "30m",
        TICKET,
        "Graphs of stored collections could not be written to disk: the next start takes longer.",
        "The log says why; the disk of `knowledge.data`.",
        "Make room: it is tried again every ten minutes.",
        {_gauge("gateway_knowledge_unkept_segments"): "2x60"},
        {_gauge("gateway_knowledge_unkept_segments"): "2x20 0x40"},
    ),
    Alert(
        "GatewayKnowledgeStale",
        "time() - gateway_knowledge_last_write_timestamp_seconds > 30 * 86400"
        " and gateway_knowledge_last_write_timestamp_seconds > 0",
        "1h",
        TICKET,
        "Nobody has written to the knowledge base for thirty days.",
        "Does whatever writes it still run?",
        "Mend the import, or raise the bound where nothing changes so often.",
        {_gauge("gateway_knowledge_last_write_timestamp_seconds"): "1x22400"},
        {_gauge("gateway_knowledge_last_write_timestamp_seconds"): "0x22400"},
        "31d",
    ),
    Alert(
        "GatewayEncoderBehind",
        "gateway_knowledge_encoder_current == 0",
        "1h",
        TICKET,
        "The log of stored collections has switched to another bundle's encoder than this gateway's.",
        "`/status` of each replica: which bundle does it serve?",
        "`gateway swap` the ones that are behind.",
        {_gauge("gateway_knowledge_encoder_current"): "0x180"},
        {_gauge("gateway_knowledge_encoder_current"): "0x30 1x150"},
        "2h",
    ),
    Alert(
        "GatewayFileDescriptors",
        'process_open_fds{job="gateway"} / process_max_fds{job="gateway"} > 0.8',
        "5m",
        PAGE,
        "A gateway has nearly as many files and connections open as it may.",
        "How many connections come from where (`ss -tn`)?",
        "Raise the limit (`LimitNOFILE`); close what is idle at the balancer.",
        {
            'process_open_fds{job="gateway",instance="a"}': "900x60",
            'process_max_fds{job="gateway",instance="a"}': "1024x60",
        },
        {
            'process_open_fds{job="gateway",instance="a"}': "100x60",
            'process_max_fds{job="gateway",instance="a"}': "1024x60",
        },
        labels={"job": "gateway", "instance": "a"},
    ),
)
