"""The histogram beside prometheus_client's own: the same to the last digit."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client import Histogram as Usual
from prometheus_client.exposition import choose_encoder

from gateway.telemetry.histogram import Histogram

BOUNDS = (0.1, 0.5, 1.0, 2.5)
OPENMETRICS = "application/openmetrics-text; version=1.0.0"
AMOUNTS = st.floats(0, 5) | st.sampled_from(BOUNDS)


def shown(registry: CollectorRegistry, accept: str = OPENMETRICS) -> str:
    """Without when something was made or kept."""
    text: str = choose_encoder(accept)[0](registry).decode()
    return re.sub(r"1\.\d+e\+09|\d{10}\.\d+", "NOW", text)


@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), AMOUNTS, st.none() | st.just({"trace_id": "0af7"}))))
def test_it_tells_what_the_library_s_would(seen: list[tuple[str, float, dict[str, str] | None]]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    one = Histogram("x_seconds", "Help.", ("label",), BOUNDS, ours)
    other = Usual("x_seconds", "Help.", ("label",), registry=theirs, buckets=BOUNDS)
    for label in ("a", "b"):
        one.labels(label)
        other.labels(label)
    for label, amount, exemplar in seen:
        one.labels(label).observe(amount, exemplar)
        other.labels(label).observe(amount, exemplar)
    for accept in ("", OPENMETRICS):
        assert shown(ours, accept) == shown(theirs, accept)


def test_without_labels() -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    Histogram("x", "Help.", (), BOUNDS, ours).labels().observe(0.5)
    Usual("x", "Help.", registry=theirs, buckets=BOUNDS).observe(0.5)
    assert shown(ours) == shown(theirs)


def test_a_name_is_taken_once_and_labels_are_complete() -> None:
    registry = CollectorRegistry()
    one = Histogram("x", "Help.", ("label",), BOUNDS, registry)
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        Histogram("x", "Help.", (), BOUNDS, registry)
    with pytest.raises(ValueError, match="has the labels"):
        one.labels()
