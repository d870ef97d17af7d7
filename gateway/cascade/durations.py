"""How long a search takes: what to allow for one within a deadline, and what one costs where time has a price."""

from __future__ import annotations

MARGIN = 3.0
"""A search starts only if this many times what it may take is left."""

OUTLIER = 4.0
"""Longer than so many times what searches cost counts as so many times: a stall of the machine is nobody's price."""


class SearchDurations:
    """Two estimates, in seconds, of the searches noted. Each comes down a little wherever it prevents a search, since
    otherwise only a search could correct it, and one stall would be believed for ever."""

    def __init__(self) -> None:
        self._allowance = 0.0
        self._cost = 0.0

    @property
    def cost(self) -> float:
        """The mean of late, outliers cut; 0 before the first search."""
        return self._cost

    def note(self, seconds: float) -> None:
        """What one took. One question of a pass searches for all of them, so quick ones say little of what to allow."""
        longer = seconds - self._allowance
        self._allowance += (0.1 if longer > 0 else 0.01) * longer
        self._cost += 0.02 * (min(seconds, OUTLIER * self._cost) - self._cost) if self._cost else seconds

    def fit_into(self, seconds: float) -> bool:
        """Whether a search may start with so much time left."""
        if seconds > MARGIN * self._allowance:
            return True
        self._allowance *= 0.9
        return False

    def not_worth_it(self) -> None:
        """A search was declined for what it costs. So slowly that of searches far too dear one in about 60 is made."""
        self._cost *= 0.999
