"""From a bundle to what watches its questions, and what an alarm does."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from gateway.cascade.standing import CertificateStanding, Part
from gateway.config import DriftMode, DriftSection
from gateway.errors import BundleInvalid
from gateway.model.bundle import Bundle, Precision
from gateway.telemetry.drift.reference import Reference, file_name
from gateway.telemetry.drift.watch import DriftWatch
from gateway.types import Doubter, DriftAlarm, DriftMonitor, DriftScope

log = logging.getLogger(__name__)

SEEN = {
    DriftMonitor.CONFIDENCE: "how sure the model is of questions has changed",
    DriftMonitor.DISTANCE: "how near questions are to what the model knows has changed",
    DriftMonitor.LABELS: "the shares of the model's answers have changed",
    DriftMonitor.EMBEDDING: "where questions lie has changed",
}

Watch = Callable[[Bundle, Precision, CertificateStanding], DriftWatch | None]
Act = Callable[[CertificateStanding, DriftAlarm], None]


@dataclass(frozen=True, slots=True)
class Monitoring:
    """`watch` makes what watches one precision of a bundle, None where nothing is watched. `act` is what an alarm does,
    whoever has raised it: this process or another worker."""

    watch: Watch = lambda bundle, precision, standing: None
    act: Act = lambda standing, alarm: None


UNWATCHED = Monitoring()


def monitoring(drift: DriftSection) -> Monitoring:
    """By the settings."""
    if drift.mode is DriftMode.OFF:
        return UNWATCHED
    act = mark if drift.mode is DriftMode.ACT else tell

    def watch(bundle: Bundle, precision: Precision, standing: CertificateStanding) -> DriftWatch | None:
        reference = reference_of(bundle, precision)
        if reference is None:
            return None
        model = bundle.profile(precision).model
        return DriftWatch(reference, model, drift.false_alarms, drift.parts, lambda alarm: act(standing, alarm))

    return Monitoring(watch, act)


def reference_of(bundle: Bundle, precision: Precision) -> Reference | None:
    """What the questions of its certificate were like; None where it does not say. Raises BundleInvalid."""
    name = file_name(precision)
    if name not in bundle.manifest.files:
        return None
    path = bundle.path(name)
    try:
        return Reference.load(path.read_bytes(), len(bundle.manifest.labels), bundle.manifest.dim)
    except (ValueError, OSError) as error:
        raise BundleInvalid(f"{path}: {error}") from None


def mark(standing: CertificateStanding, alarm: DriftAlarm) -> None:
    """Where it is to change something."""
    standing.mark_stale(told(alarm), Doubter.DRIFT, part_of(alarm))


def tell(_: CertificateStanding, alarm: DriftAlarm) -> None:
    """Where it is to change nothing."""
    log.warning("%s; as drift.mode is observe, answers stay as they are", told(alarm))


def told(alarm: DriftAlarm) -> str:
    """In words."""
    whose = {DriftScope.ALL: "", DriftScope.TENANT: f" of tenant {alarm.name}"}.get(alarm.scope, f" in {alarm.name}")
    if alarm.scope is DriftScope.ALL and alarm.name:
        whose = f", most of them of {alarm.name}"
    return (
        f"drift: {SEEN[alarm.monitor]} since the certificate was made (after {alarm.questions} questions{whose}; "
        "`gateway drift status` shows how far)"
    )


def part_of(alarm: DriftAlarm) -> Part | None:
    if alarm.scope is DriftScope.TENANT:
        return Part(tenant=alarm.name)
    return Part(collection=alarm.name) if alarm.scope is DriftScope.COLLECTION else None
