"""The instruments of who is let in, and of the files that decide it. No name of a caller is in a label."""

from __future__ import annotations

import enum

from prometheus_client import CollectorRegistry, Counter, Gauge

from gateway.types import Denial


class Reloaded(enum.StrEnum):
    """What is read again while the server runs."""

    TLS = "tls"
    KEYS = "keys"
    JWKS = "jwks"
    SETTINGS = "settings"


class AccessMetrics:
    """Made once a process. From any thread."""

    def __init__(self, registry: CollectorRegistry) -> None:
        reloads = Counter(
            "gateway_reloads_total",
            "Files and settings read again: accepted and in use, or rejected, while those before stay in use.",
            ("what", "outcome"),
            registry=registry,
        )
        outcomes = {True: "accepted", False: "rejected"}
        self._reloads = {
            (what, is_in_use): reloads.labels(what.value, name)
            for what in Reloaded
            for is_in_use, name in outcomes.items()
        }
        failures = Counter("gateway_auth_failures_total", "Calls that were not let in.", ("reason",), registry=registry)
        self._failures = {reason: failures.labels(reason.value) for reason in Denial}
        self._not_after = Gauge(
            "gateway_tls_not_after_timestamp_seconds",
            "When the TLS certificate in use ends: the server's own, or the first of those that sign clients'.",
            ("certificate",),
            registry=registry,
        )
        self._jwks_fetched = Gauge(
            "gateway_jwks_fetched_timestamp_seconds",
            "When the keys that tokens are verified with were last read; absent without tokens.",
            ("issuer",),
            registry=registry,
        )

    def reloaded(self, what: Reloaded, is_in_use: bool) -> None:
        self._reloads[what, is_in_use].inc()

    def denied(self, reason: Denial) -> None:
        self._failures[reason].inc()

    def set_tls(self, own: float, client_ca: float | None) -> None:
        """When they end, in seconds since 1970."""
        self._not_after.labels("server").set(own)
        if client_ca is not None:
            self._not_after.labels("client_ca").set(client_ca)

    def set_jwks(self, issuer: str, fetched: float) -> None:
        """In seconds since 1970."""
        self._jwks_fetched.labels(issuer).set(fetched)
