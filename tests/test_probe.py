"""The recall that is measured while serving: it says what a graph misses, and nothing where nothing can be missed."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from gateway.knowledge.generation import Generation
from gateway.knowledge.library import Library
from gateway.knowledge.probe import Probe, exact
from gateway.knowledge.vectors import VectorIndex
from gateway.types import Principal, ProbeFigures
from tests.test_generation import NOBODY, STAFF, WORDS, document, embed, query

COUNT = 40


def generation(exact_up_to: int = 0) -> Generation:
    documents = [document(f"d{at}", f"{WORDS[at % 8]} " * (at // 8 + 1), is_secret=at % 5 == 0) for at in range(COUNT)]
    return Generation.build(documents, embed, exact_up_to=exact_up_to)


def looked(probe: Probe, wanted: int) -> ProbeFigures:
    until = time.monotonic() + 10
    while probe.figures.wanted < wanted and time.monotonic() < until:
        time.sleep(0.005)
    probe.close()
    return probe.figures


def test_one_search_of_so_many_is_made_again_by_scan() -> None:
    probe = Probe(3)
    library = Library({"x": generation()}, probe=probe)
    for at in range(5):
        library.rank("x", query(WORDS[at]), STAFF, 5)
    assert looked(probe, 10) == ProbeFigures(10, 10)


def test_what_a_search_misses_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    by_graph = VectorIndex.search
    monkeypatch.setattr(VectorIndex, "search", lambda *given, **more: by_graph(*given, **more)[:2])
    probe = Probe(1)
    probe.note(generation(), query("card"), STAFF, 0.0)
    found = looked(probe, 1)
    assert 0 < found.found < found.wanted


@pytest.mark.parametrize("every", [0, 1])
def test_nothing_is_looked_at_where_everything_is_a_scan_or_none_is_wanted(every: int) -> None:
    probe = Probe(every)
    probe.note(generation(99 if every else 0), query("card"), STAFF, 0.0)
    probe.close()
    assert probe.figures == ProbeFigures()


def test_a_scan_finds_what_may_be_read_and_counts() -> None:
    now = generation()
    everything = {one.id for one in now.documents}
    assert exact(now, query("card"), NOBODY, 0.0) <= {one.id for one in now.documents if not one.groups} < everything
    assert exact(replace(now, parts=()), query("card"), NOBODY, 0.0) == set()
    nearest = [one for one, _ in Library({"x": now}).rank("x", query("card"), Principal(), 10).documents]
    assert exact(now, query("card"), Principal(), 0.0) == set(nearest[:10])
