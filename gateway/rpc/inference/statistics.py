"""What a model has done since the start, as clients of the Open Inference Protocol ask: of this process alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from gateway.v1 import open_inference_pb2 as pb

STAGES = {"queue": "queue", "tokenize": "compute_input", "infer": "compute_infer"}
"""Ours -> theirs; all that is left of a call is compute_output."""


class Statistics:
    """Of one model. perf_analyzer wants every count but `fail` to be the same, also where a stage took no time.
    `now`: seconds since 1970."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._questions = self._last = 0
        self._seconds = dict.fromkeys(
            ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output"), 0.0
        )
        self._succeeded = self._failed = 0

    def succeeded(self, questions: int, seconds: float, stages: Mapping[str, float]) -> None:
        """A call of so many questions, with the stages of one of them."""
        self._questions += questions
        self._succeeded += 1
        self._last = int(1000 * self._now())
        known = {theirs: stages.get(ours, 0.0) for ours, theirs in STAGES.items()}
        known["compute_output"] = max(0.0, seconds - sum(known.values()))
        for name, value in (known | {"success": seconds}).items():
            self._seconds[name] += value

    def failed(self, seconds: float) -> None:
        self._failed += 1
        self._seconds["fail"] += seconds

    def to_proto(self, name: str, version: str) -> pb.ModelStatistics:
        counts = {stage: self._failed if stage == "fail" else self._succeeded for stage in self._seconds}
        durations = {
            stage: pb.StatisticDuration(count=counts[stage], ns=round(1e9 * seconds))
            for stage, seconds in self._seconds.items()
        }
        return pb.ModelStatistics(
            name=name,
            version=version,
            last_inference=self._last,
            inference_count=self._questions,
            execution_count=self._succeeded,
            inference_stats=pb.InferStatistics(**durations),
        )
