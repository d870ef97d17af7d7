"""Which student ships: the rule that decides by what each depth scores and costs; free of torch."""

from __future__ import annotations

from rich.table import Table

Measured = dict[str, float]
"""accuracy (dev), unseen_retrieval and seen_retrieval (right document first), per_second (one core, one at a time)."""

TOLERANCE = 0.01
"""A shallower student ships if it loses no more than this in accuracy and in retrieval to the best of each: the price
of its speed. Depths are measured on the same questions, so a difference is surer than either figure."""


def best(measured: dict[int, Measured]) -> int:
    """The fewest layers within TOLERANCE of the best, in accuracy and in retrieval on unseen intents.

    Where none is within it in both, the one that is least behind in the two together: each of them is a mean over some
    hundreds of questions, so that a lead in one alone may be chance.
    """

    def behind(layers: int, name: str) -> float:
        return max(one.get(name, 0.0) for one in measured.values()) - measured[layers].get(name, 0.0)

    names = ("accuracy", "unseen_retrieval")
    good = [layers for layers in measured if all(behind(layers, name) <= TOLERANCE for name in names)]
    return min(good) if good else min(measured, key=lambda layers: sum(behind(layers, name) for name in names))


def table(measured: dict[int, Measured], chosen: int) -> Table:
    """For the terminal."""
    names = list(dict.fromkeys(name for one in measured.values() for name in one))
    drawn = Table("layers", *names)
    for layers, one in sorted(measured.items()):
        cells = [f"{one[name]:.4f}" if one.get(name, 2) <= 1 else f"{one.get(name, 0):.0f}" for name in names]
        drawn.add_row(f"{layers}{' *' if layers == chosen else ''}", *cells)
    return drawn
