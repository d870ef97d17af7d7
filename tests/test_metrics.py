"""Every instrument, its name and labels."""

from __future__ import annotations

import dataclasses

import pytest

from gateway.telemetry.metrics import CollectionFigures, Metrics, Stage
from gateway.types import Agreement, Degradation, Policy, ProbeFigures, Reason, Route, StoredFigures, Workload
from tests.fakes import ABSTENTION, ANSWER

NAMES = {
    "grpc_server_started_total": "counter",
    "grpc_server_handled_total": "counter",
    "grpc_server_handling_seconds": "histogram",
    "gateway_request_duration_seconds": "histogram",
    "gateway_stage_duration_seconds": "histogram",
    "gateway_route_decisions_total": "counter",
    "gateway_confidence": "histogram",
    "gateway_retrieval_score": "histogram",
    "gateway_confidence_threshold": "gauge",
    "gateway_degraded": "gauge",
    "gateway_certificate_status": "gauge",
    "gateway_certified_risk_ratio": "gauge",
    "gateway_certified_oos_share_ratio": "gauge",
    "gateway_inflight_requests": "gauge",
    "gateway_queue_requests": "gauge",
    "gateway_batch_size": "histogram",
    "gateway_breaker_state": "gauge",
    "gateway_breaker_opened_total": "counter",
    "gateway_tier_failures_total": "counter",
    "gateway_model_info": "gauge",
    "gateway_model_loaded_timestamp_seconds": "gauge",
    "gateway_build_info": "gauge",
    "gateway_knowledge_documents": "gauge",
    "gateway_knowledge_passages": "gauge",
    "gateway_knowledge_version": "gauge",
    "gateway_knowledge_stored_collections": "gauge",
    "gateway_knowledge_stored_documents": "gauge",
    "gateway_knowledge_stored_passages": "gauge",
    "gateway_knowledge_stored_segments": "gauge",
    "gateway_knowledge_unkept_segments": "gauge",
    "gateway_knowledge_last_write_timestamp_seconds": "gauge",
    "gateway_knowledge_log_version": "gauge",
    "gateway_knowledge_encoder_current": "gauge",
    "gateway_knowledge_backfill_documents": "gauge",
    "gateway_knowledge_backfill_done": "gauge",
    "gateway_knowledge_probe_wanted_total": "counter",
    "gateway_knowledge_probe_found_total": "counter",
    "gateway_audit_written_total": "counter",
    "gateway_audit_dropped_total": "counter",
    "gateway_feedback_total": "counter",
    "gateway_audit_waiting": "gauge",
    "gateway_audit_answers": "gauge",
    "gateway_audit_error_ratio": "gauge",
    "gateway_audit_error_lower_ratio": "gauge",
    "gateway_audit_error_upper_ratio": "gauge",
    "gateway_audit_bytes": "gauge",
    "gateway_audit_failing": "gauge",
    "gateway_drift_questions_total": "counter",
    "gateway_drift_skipped_total": "counter",
    "gateway_drift_watched": "gauge",
    "gateway_reloads_total": "counter",
    "gateway_auth_failures_total": "counter",
    "gateway_traced_calls_total": "counter",
    "gateway_tls_not_after_timestamp_seconds": "gauge",
    "gateway_jwks_fetched_timestamp_seconds": "gauge",
    "gateway_drift_evidence": "gauge",
    "gateway_drift_statistic": "gauge",
    "gateway_drift_p_value": "gauge",
    "gateway_drift_alarms": "gauge",
    "gateway_admission_rejected_total": "counter",
    "gateway_cancelled_total": "counter",
    "gateway_queue_dropped_total": "counter",
    "gateway_tokens_total": "counter",
    "gateway_wasted_tokens_total": "counter",
    "gateway_queue_cost_seconds": "gauge",
    "gateway_shed_level_ratio": "gauge",
    "gateway_event_loop_lag_seconds": "histogram",
    "gateway_gc_pause_seconds": "histogram",
    "gateway_shadow_answers_total": "counter",
    "gateway_shadow_duration_seconds": "histogram",
    "gateway_shadow_searches_total": "counter",
    "gateway_shadow_same_first_total": "counter",
    "gateway_shadow_hits_total": "counter",
    "gateway_shadow_shared_total": "counter",
}


def types_of(text: str) -> dict[str, str]:
    lines = (line.split() for line in text.splitlines() if line.startswith("# TYPE "))
    return {name: kind for _, _, name, kind in lines if not name.endswith("_created")}


def test_the_names_are_these() -> None:
    metrics = Metrics()
    found = types_of(metrics.render()[0].decode())
    assert {name: kind for name, kind in found.items() if not name.startswith("process_")} == NAMES
    assert "process_resident_memory_bytes" in found


def test_an_answer_is_observed() -> None:
    metrics = Metrics()
    metrics.observe(ANSWER, 0.004)
    get = metrics.registry.get_sample_value
    labels = {"route": "model", "outcome": "ok"}
    assert get("gateway_request_duration_seconds_bucket", {**labels, "le": "0.005"}) == 1
    assert get("gateway_request_duration_seconds_bucket", {**labels, "le": "0.003"}) == 0
    assert get("gateway_confidence_count", {"route": "model"}) == 1
    assert get("gateway_retrieval_score_sum") == 0.75
    assert get("gateway_batch_size_sum") == 2


@pytest.mark.parametrize(
    ("change", "degraded"),
    [
        ({}, False),
        ({"retrieval_confidence": None}, True),
        ({"retrieval_confidence": None, "policy": Policy.MODEL_ONLY}, False),
        ({"retrieval_confidence": None, "knowledge_version": 0}, False),
        ({"reason": Reason.BUDGET}, True),
    ],
)
def test_an_answer_without_a_search_that_its_policy_wanted_is_degraded(
    change: dict[str, object], degraded: bool
) -> None:
    assert dataclasses.replace(ANSWER, **change).is_degraded is degraded  # type: ignore[arg-type]


def test_an_answer_in_need_of_a_tier_that_was_down_is_degraded() -> None:
    metrics = Metrics()
    metrics.observe(dataclasses.replace(ANSWER, reason=Reason.MODEL_UNAVAILABLE, route=Route.RETRIEVAL), 0.001)
    labels = {"route": "retrieval", "outcome": "degraded"}
    assert metrics.registry.get_sample_value("gateway_request_duration_seconds_count", labels) == 1


def test_a_tier_that_did_not_run_is_not_observed() -> None:
    metrics = Metrics()
    metrics.observe(ABSTENTION, 0.001)
    assert metrics.registry.get_sample_value("gateway_batch_size_count") == 0
    assert metrics.registry.get_sample_value("gateway_retrieval_score_count") == 0


@pytest.mark.parametrize("stage", [*Stage, "anything else"])
def test_stages_are_bounded(stage: str) -> None:
    metrics = Metrics()
    metrics.observe(dataclasses.replace(ANSWER, timings={stage: 0.001}), 0.001)
    label = stage if stage in list(Stage) else "other"
    assert metrics.registry.get_sample_value("gateway_stage_duration_seconds_count", {"stage": label}) == 1


def degraded(metrics: Metrics, reason: Degradation) -> float | None:
    return metrics.registry.get_sample_value("gateway_degraded", {"reason": reason.value})


def test_only_the_bundle_in_use_is_shown() -> None:
    metrics = Metrics()
    for bundle in ("banking/1", "banking/2"):
        metrics.set_model(
            bundle=bundle,
            sha256="ab" * 32,
            provider="CPUExecutionProvider",
            precision="int8",
            loaded=1.0,
            threshold=0.75,
            certificate="stale",
            certified_risk=0.025,
            certified_oos_share=0.3,
            degraded=Degradation.DEVICE_LOST if bundle == "banking/1" else None,
        )
        shown = {reason: degraded(metrics, reason) for reason in Degradation}
        assert shown[Degradation.DEVICE_LOST] == (bundle == "banking/1")
        assert shown[Degradation.BATCHES_FAIL] == 0
    text = metrics.render()[0].decode()
    assert 'bundle="banking/2"' in text
    assert 'bundle="banking/1"' not in text
    assert 'gateway_certificate_status{status="stale"} 1.0' in text
    assert "gateway_certified_risk_ratio 0.025" in text
    assert "gateway_certified_oos_share_ratio 0.3" in text


def test_collections_are_shown() -> None:
    metrics = Metrics()
    metrics.set_knowledge(
        [CollectionFigures("banking", 3, 9, 7)],
        StoredFigures(2, 4, 8, 3, 11, unkept=1, written=1.7e9),
        ProbeFigures(10, 9),
    )
    get = metrics.registry.get_sample_value
    assert get("gateway_knowledge_documents", {"collection": "banking"}) == 3
    assert (get("gateway_knowledge_stored_segments"), get("gateway_knowledge_log_version")) == (3, 11)
    assert get("gateway_knowledge_unkept_segments") == 1
    assert get("gateway_knowledge_last_write_timestamp_seconds") == 1.7e9
    assert (get("gateway_knowledge_probe_wanted_total"), get("gateway_knowledge_probe_found_total")) == (10, 9)
    metrics.set_knowledge([], None, ProbeFigures(20, 18))
    metrics.set_knowledge([], None, ProbeFigures(5, 5))  # another bundle counts anew
    assert (get("gateway_knowledge_probe_wanted_total"), get("gateway_knowledge_probe_found_total")) == (25, 23)


def test_what_the_model_tier_has_done_is_counted_once() -> None:
    metrics = Metrics()
    get = metrics.registry.get_sample_value
    first = Workload(queued_seconds=0.5, tokens=100, wasted=10, left_queue=3, left_pass=1, late=2)
    for now in (first, first, dataclasses.replace(first, queued_seconds=0.25, tokens=140, wasted=11)):
        metrics.set_workload(now)
    assert get("gateway_queue_cost_seconds") == 0.25
    assert get("gateway_tokens_total") == 140
    assert get("gateway_wasted_tokens_total") == 11
    assert get("gateway_cancelled_total", {"phase": "queue"}) == 3
    assert get("gateway_cancelled_total", {"phase": "infer"}) == 1
    assert get("gateway_queue_dropped_total") == 2


def test_another_bundle_counts_from_nothing() -> None:
    metrics = Metrics()
    for tokens in (100, 30):
        metrics.set_workload(Workload(tokens=tokens))
    assert metrics.registry.get_sample_value("gateway_tokens_total") == 130


def test_a_candidate_s_answers_are_counted_by_agreement() -> None:
    metrics = Metrics()
    for agreement in (Agreement.SAME, Agreement.SAME, Agreement.FAILED):
        metrics.observe_shadow(agreement, 0.01)
    get = metrics.registry.get_sample_value
    assert get("gateway_shadow_answers_total", {"agreement": "same"}) == 2
    assert get("gateway_shadow_answers_total", {"agreement": "failed"}) == 1
    assert get("gateway_shadow_duration_seconds_count") == 3
