"""What a scrape adds: windows with and without, side by side."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from loadtest import scrape_cost
from loadtest.chaos.verdicts import Terms
from loadtest.scrape_cost import Scraped
from loadtest.scrape_cost_command import scrape_cost_


def test_what_is_added_is_of_all_windows_together() -> None:
    found = Scraped(quiet=[[1.0] * 100, [1.0] * 100], scraped=[[1.0] * 100, [4.0] * 100])
    assert found.added(99) == 3.0
    low, high = found.interval(99, 1)
    assert (low, high) == (0.0, 3.0)


@pytest.mark.parametrize("added", [0.1, 5.0])
def test_the_command_fails_where_it_is_too_much(monkeypatch: pytest.MonkeyPatch, added: float) -> None:
    async def measured(*_: object) -> Scraped:
        return Scraped(quiet=[[1.0] * 9], scraped=[[1.0 + added] * 9], took=[2.0], size=2048)

    monkeypatch.setattr(scrape_cost, "measured", measured)
    found = CliRunner().invoke(scrape_cost_, [])
    assert found.exit_code == (added > 2)
    assert f"p99 grows by {added:.2f} ms" in found.output


async def test_a_gateway_is_asked_and_scraped(tmp_path: Path) -> None:
    found = await scrape_cost.measured(Terms(tmp_path), 20.0, 1, 1.0, 0.5)
    assert (len(found.quiet), len(found.scraped), found.failed) == (1, 1, 0)
    assert len(found.took) >= 2
    assert found.size > 1000
