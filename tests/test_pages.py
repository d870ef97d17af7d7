"""Pages: what one document of a page says counts for all of them, in whichever segments they lie."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gateway.knowledge.pages import Pages, shared

documents = st.lists(st.tuples(st.integers(0, 9), st.floats(0, 1, width=32)), min_size=1, max_size=8)


@given(st.lists(documents, min_size=1, max_size=5))
def test_each_document_has_the_highest_value_of_its_page(segments: list[list[tuple[int, float]]]) -> None:
    pages = [Pages(np.array([page for page, _ in some], np.uint64)) for some in segments]
    values = [np.array([value for _, value in some], np.float32) for some in segments]
    best: dict[int, float] = {}
    for page, value in (pair for some in segments for pair in some):
        best[page] = max(best.get(page, 0.0), value)
    given_values = [one.tolist() for one in values]
    for _ in range(2):  # again, with what is kept of the first time
        found = [one.tolist() for one in shared(pages, values)]
        assert found == [[best[page] for page, _ in some] for some in segments]
    assert [one.tolist() for one in values] == given_values  # nobody else's are touched
