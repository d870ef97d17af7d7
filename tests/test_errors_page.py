"""The page of errors has every reason that a caller may see, with its status, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from gateway.rpc.status import TABLE, UNEXPECTED

ROWS = re.compile(r"^\| `([A-Z_]+)` \| ([A-Z_]+) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)
PAGE = (Path(__file__).parent.parent / "docs" / "errors.md").read_text()


def test_every_reason_is_explained_with_its_status() -> None:
    explained = {(reason, code) for reason, code, *_ in ROWS.findall(PAGE)}
    assert explained == {(row.reason, row.code.name) for row in (*TABLE.values(), UNEXPECTED)}
    assert len(explained) == len(ROWS.findall(PAGE))


def test_where_an_id_is_all_that_a_caller_gets_the_page_says_so() -> None:
    for reason, _, meaning, _ in ROWS.findall(PAGE):
        is_shown = any(row.shown for row in TABLE.values() if row.reason == reason)
        assert ("the message has an id" in meaning) == (not is_shown), reason
