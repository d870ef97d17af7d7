"""The instruments of drift. No tenant's name is in a label: /status and the log name them."""

from __future__ import annotations

from collections import Counter as Tally

from prometheus_client import CollectorRegistry, Counter, Gauge

from gateway.types import DriftFigures, DriftMonitor, DriftScope


class DriftMetrics:
    """Made once a process; on the event loop."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, help_text: str, *labels: str) -> Gauge:
            return Gauge(f"gateway_drift_{name}", help_text, labels, registry=registry)

        self._counters = {
            name: Counter(f"gateway_drift_{name}", help_text, registry=registry)
            for name, help_text in (
                ("questions", "Questions that were compared with those of the certificate."),
                ("skipped", "Questions that were not, for want of time."),
            )
        }
        self._watched = gauge("watched", "1 where the bundle has a reference to compare with.")
        self._evidence = gauge(
            "evidence", "Evidence of drift in decimal orders of magnitude; an alarm is raised at 0.", "monitor"
        )
        self._statistic = gauge("statistic", "How far the last questions are from the reference.", "test")
        self._p_value = gauge("p_value", "How likely that much is where nothing drifts.", "test")
        self._alarms = gauge(
            "alarms", "Alarms that hold: for all questions, or by tenant and collection.", "monitor", "scope"
        )
        self._before = DriftFigures(0)

    def set(self, now: DriftFigures | None) -> None:
        """None where nothing is watched."""
        self._watched.set(now is not None)
        now = now or DriftFigures(0)
        # Less than before: another bundle was taken in, or an operator had it begin again, and it counts from 0.
        before = self._before if now.questions >= self._before.questions else DriftFigures(0)
        self._before = now
        self._counters["questions"].inc(now.questions - before.questions)
        self._counters["skipped"].inc(max(0, now.skipped - before.skipped))
        for one in (self._evidence, self._statistic, self._p_value):
            one.clear()
        for monitor, evidence in now.evidence.items():
            self._evidence.labels(monitor.value).set(evidence)
        for test, reading in now.readings.items():
            self._statistic.labels(test).set(reading.statistic)
            self._p_value.labels(test).set(reading.p_value)
        held = Tally((alarm.monitor, alarm.scope) for alarm in now.alarms)
        for monitor in DriftMonitor:
            for scope in DriftScope:
                self._alarms.labels(monitor.value, scope.value).set(held[monitor, scope])
