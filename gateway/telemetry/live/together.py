"""The readings of several processes as those of one."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from gateway.telemetry.live.counts import Counts, increase
from gateway.telemetry.live.history import Levels, Reading


class Together:
    """The counts never fall: what a process that ended had counted stays, and one that gives no answer is caught up
    with later."""

    def __init__(self) -> None:
        self._before: dict[str, Counts] = {}
        self._sum: Counts = {}

    def add(self, at: float, said: Mapping[str, Reading], there: Collection[str]) -> Reading:
        """What processes have `said`, by names that no other process ever has; `there`: all that have not ended."""
        self._before = {source: counts for source, counts in self._before.items() if source in there}
        for source, now in said.items():
            for key, count in increase(self._before.get(source, {}), now.counts).items():
                self._sum[key] = self._sum.get(key, 0) + count
            self._before[source] = now.counts
        return Reading(at, dict(self._sum), _levels([now.levels for now in said.values()]))


def _levels(each: Collection[Levels]) -> Levels:
    """Of all; the shed level is the highest, as in the metrics."""
    return Levels(
        in_flight=sum(one.in_flight for one in each),
        max_in_flight=sum(one.max_in_flight for one in each),
        waiting=sum(one.waiting for one in each),
        queued_seconds=sum(one.queued_seconds for one in each),
        shed_level=max((one.shed_level for one in each), default=0.0),
    )
