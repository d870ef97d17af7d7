"""The instruments of the circuit breakers."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge

from gateway.types import BreakerFigures, BreakerState, Tier


class BreakerMetrics:
    """Made once a process; on the event loop."""

    def __init__(self, registry: CollectorRegistry) -> None:
        state = Gauge(
            "gateway_breaker_state", "1 for how the tier's circuit breaker is.", ("tier", "state"), registry=registry
        )
        failures = Counter("gateway_tier_failures", "Questions that the tier failed.", ("tier",), registry=registry)
        opened = Counter("gateway_breaker_opened", "Times that the tier was left alone.", ("tier",), registry=registry)
        self._state = {(tier, one): state.labels(tier.value, one.value) for tier in Tier for one in BreakerState}
        self._failures = {tier: failures.labels(tier.value) for tier in Tier}
        self._opened = {tier: opened.labels(tier.value) for tier in Tier}
        self._before: dict[Tier, BreakerFigures] = {}

    def set(self, breakers: Iterable[BreakerFigures]) -> None:
        """As they are now."""
        for now in breakers:
            before = self._before.get(now.tier)
            if before is None or now.failures < before.failures:  # another bundle was taken in, which counts from 0
                before = BreakerFigures(now.tier, now.state)
            self._before[now.tier] = now
            self._failures[now.tier].inc(now.failures - before.failures)
            self._opened[now.tier].inc(max(0, now.opened - before.opened))
            for state in BreakerState:
                self._state[now.tier, state].set(state is now.state)
