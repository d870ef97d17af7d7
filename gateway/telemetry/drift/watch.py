"""Watches the questions that are answered: an append for each on the event loop, and all arithmetic in a thread.

What comes in is bounded: two buffers of a batch each. Where the thread is not done with one when the other is full, a
batch is left out and counted. Which questions are left out has nothing to do with what they are like, so the bounds
hold for those that are not.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gateway.cascade.calibration import MODEL_FEATURES, PROTOTYPE, ModelCalibration
from gateway.telemetry.drift.monitors import Limits, Whole
from gateway.telemetry.drift.parts import Parts
from gateway.telemetry.drift.reference import ROUTES, Reference
from gateway.telemetry.drift.window import BATCH, BLOCKS, Batch, Window
from gateway.types import (
    Answer,
    DriftAlarm,
    DriftFigures,
    DriftMonitor,
    DriftScope,
    Policy,
    Prediction,
    Question,
)

log = logging.getLogger(__name__)

ROUTE_NUMBERS = {route: number for number, route in enumerate(ROUTES)}
OTHER_ROUTE = -1
BUFFERS = 2
WINDOW = BLOCKS * BATCH
MOST_ALARMS = 256
"""Of tenants and collections, whose names are the callers'; an alarm of all questions always finds room."""

OnAlarm = Callable[[DriftAlarm], None]
"""Called in the thread, once for each monitor of each name."""


class DriftWatch:
    """Of one precision's predictions. `note` on the event loop, `figures` from any thread; `close` it.

    At most `most_parts` tenants are watched on their own, and as many collections; 0: none.
    """

    def __init__(
        self,
        reference: Reference,
        model: ModelCalibration,
        false_alarms: float,
        most_parts: int,
        on_alarm: OnAlarm,
        clock: Callable[[], float] = time.time,
    ) -> None:
        limits = Limits.of(false_alarms)
        self._model = model
        self._on_alarm = on_alarm
        self._clock = clock
        self._whole = Whole(reference, limits)
        self._window = Window(reference)
        self._parts = {
            scope: Parts(reference, limits, most_parts) for scope in (DriftScope.TENANT, DriftScope.COLLECTION)
        }
        self._alarms: dict[tuple[DriftMonitor, DriftScope, str], DriftAlarm] = {}
        self._lock = threading.Lock()
        self._free = [_Buffer(len(reference.embedding.frequencies)) for _ in range(BUFFERS)]
        self._buffer = self._free.pop()
        self._skipped = 0
        self._figures = DriftFigures(reference.questions)
        self._thread = ThreadPoolExecutor(1, "drift")

    def note(self, prediction: Prediction, answer: Answer, question: Question) -> None:
        """An answer that was given. Microseconds."""
        buffer = self._buffer
        buffer.add(self._model, prediction, answer, question)
        if buffer.count < BATCH:
            return
        if not self._free:
            buffer.count = 0
            self._skipped += BATCH
            return
        self._buffer = self._free.pop()
        self._thread.submit(self._look, buffer)

    @property
    def figures(self) -> DriftFigures:
        return replace(self._figures, skipped=self._skipped)

    def restart(self) -> None:
        """Forget all that was seen, and every alarm: an operator's word. Waits for a batch to be done with."""
        with self._lock:
            self._whole.restart()
            self._window.restart()
            for parts in self._parts.values():
                parts.restart()
            self._alarms.clear()
            self._figures = DriftFigures(self._figures.reference)

    def settle(self) -> None:
        """Wait until every batch that is full has been looked at."""
        self._thread.submit(lambda: None).result()

    def close(self) -> None:
        self._thread.shutdown(cancel_futures=True)

    def _look(self, buffer: _Buffer) -> None:
        try:
            batch, tenants, collections = buffer.taken(self._model)
            with self._lock:
                self._update(batch, {DriftScope.TENANT: tenants, DriftScope.COLLECTION: collections})
        except Exception:
            log.exception("a batch of questions could not be watched for drift")
        finally:
            buffer.count = 0
            self._free.append(buffer)

    def _update(self, batch: Batch, names: dict[DriftScope, list[str]]) -> None:
        before = self._figures
        questions = before.questions + len(batch)
        self._window.add(batch)
        for scope, parts in self._parts.items():
            for name, seen, monitor in parts.update(names[scope], batch):
                is_most = 2 * seen > questions  # whatever part it is, it is the whole that has changed
                self._raise(monitor, DriftScope.ALL if is_most else scope, name, seen)
        for monitor in self._whole.update(batch.of(self._counts(names))):
            self._raise(monitor, DriftScope.ALL, "", questions)
        readings = before.readings
        if questions // WINDOW > before.questions // WINDOW:
            readings = self._window.readings() | {"embedding_discrepancy": self._whole.discrepancy()}
        self._figures = DriftFigures(
            reference=before.reference,
            questions=questions,
            evidence=self._whole.evidence(),
            readings=readings,
            alarms=tuple(self._alarms.values()),
            tenants=len(self._parts[DriftScope.TENANT]),
            collections=len(self._parts[DriftScope.COLLECTION]),
        )

    def _counts(self, names: dict[DriftScope, list[str]]) -> NDArray[np.bool_]:
        """[n]: whether each question is of no part that has an alarm of its own. What is known to have changed, and has
        stricter thresholds by itself, is not to bring them upon all others."""
        known = {(alarm.scope, alarm.name) for alarm in self._alarms.values()}
        pairs = ([(scope, name) for name in some] for scope, some in names.items())
        return np.array([known.isdisjoint(each) for each in zip(*pairs, strict=True)], bool)

    def _raise(self, monitor: DriftMonitor, scope: DriftScope, name: str, questions: int) -> None:
        key = (monitor, scope, name)
        has_room = scope is DriftScope.ALL or len(self._alarms) < MOST_ALARMS
        if key not in self._alarms and has_room:
            self._alarms[key] = DriftAlarm(monitor, scope, name, questions, round(self._clock(), 3))
            self._on_alarm(self._alarms[key])


class _Buffer:
    """A batch as it fills: arrays made beforehand."""

    def __init__(self, dim: int) -> None:
        self.count = 0
        self._features = np.zeros((BATCH, len(MODEL_FEATURES)), np.float32)
        self._embeddings = np.zeros((BATCH, dim), np.float32)
        self._labels = np.zeros(BATCH, np.int64)
        self._routes = np.zeros(BATCH, np.int64)
        self._tenants = [""] * BATCH
        self._collections = [""] * BATCH

    def add(self, model: ModelCalibration, prediction: Prediction, answer: Answer, question: Question) -> None:
        """One question; there is room."""
        at, row = self.count, prediction.row
        read = model.read(prediction.forward)  # made when it was answered
        self._features[at] = read.features[row]
        self._embeddings[at] = prediction.forward.embeddings[row]
        self._labels[at] = read.best[row]
        is_usual = question.policy is Policy.CASCADE and question.may_search
        self._routes[at] = ROUTE_NUMBERS[answer.route] if is_usual else OTHER_ROUTE
        self._tenants[at] = question.principal.tenant
        self._collections[at] = question.collection
        self.count = at + 1

    def taken(self, model: ModelCalibration) -> tuple[Batch, list[str], list[str]]:
        """The batch, with each question's tenant and collection; without what has no numbers."""
        found = Batch(
            np.asarray(model.confidence(self._features), np.float64),
            self._features[:, PROTOTYPE].astype(np.float64),
            self._labels.copy(),
            self._embeddings.copy(),
            self._routes.copy(),
        )
        good = np.isfinite(np.concatenate([self._features, self._embeddings], axis=1)).all(axis=1)
        tenants, collections = list(self._tenants), list(self._collections)
        if good.all():
            return found, tenants, collections
        kept = np.flatnonzero(good)
        return found.of(kept), [tenants[at] for at in kept], [collections[at] for at in kept]
