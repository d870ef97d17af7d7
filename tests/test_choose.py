"""Which student ships: the shallowest that loses next to nothing."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from gateway.forge.choose import Measured, best, table


def measured(**layers: tuple[float, float]) -> dict[int, Measured]:
    """{layers: (accuracy, unseen retrieval)} with keys like `l3`."""
    return {
        int(key[1:]): {"accuracy": accuracy, "unseen_retrieval": unseen, "per_second": 1000.0}
        for key, (accuracy, unseen) in layers.items()
    }


@pytest.mark.parametrize(
    ("found", "layers"),
    [
        (measured(l3=(0.93, 0.7), l4=(0.93, 0.7), l6=(0.93, 0.7)), 3),
        (measured(l3=(0.926, 0.7), l4=(0.93, 0.7), l6=(0.93, 0.7)), 3),
        (measured(l3=(0.92, 0.7), l4=(0.928, 0.7), l6=(0.93, 0.7)), 4),
        (measured(l3=(0.93, 0.6), l4=(0.93, 0.698), l6=(0.93, 0.7)), 4),
        (measured(l3=(0.93, 0.6), l4=(0.92, 0.65), l6=(0.93, 0.7)), 6),
        (measured(l6=(0.5, 0.5)), 6),
    ],
)
def test_the_shallowest_within_the_tolerance_of_both_bests_ships(found: dict[int, Measured], layers: int) -> None:
    assert best(found) == layers


def test_where_none_is_good_at_both_the_least_behind_in_the_two_together_ships() -> None:
    assert best(measured(l3=(0.92, 0.74), l4=(0.915, 0.735), l6=(0.91, 0.76))) == 6
    assert best(measured(l3=(0.92, 0.74), l4=(0.915, 0.735), l6=(0.90, 0.755))) == 3


def test_without_documents_accuracy_alone_decides() -> None:
    assert best({3: {"accuracy": 0.93}, 6: {"accuracy": 0.93}}) == 3


def test_the_table_marks_the_chosen_one() -> None:
    said = io.StringIO()
    Console(file=said, width=120).print(table(measured(l3=(0.9, 0.5), l12=(0.93, 0.7)), 12))
    rows = said.getvalue()
    assert "12 *" in rows
    assert "0.9300" in rows
    assert rows.index("0.9000") < rows.index("0.9300")
