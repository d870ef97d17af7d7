"""Which documents labels stand for: numbered by document, as several labels may stand for one."""

from __future__ import annotations

from gateway.forge.knowledge import Knowledge

LABELS = ("blue", "green", "red")


def test_two_labels_may_stand_for_one_document() -> None:
    known = Knowledge((), (), {"blue": "cold", "green": "cold", "red": "warm"})
    assert known.numbers(LABELS) == {"cold": 0, "warm": 1}
    assert known.numbers_by_label(LABELS).tolist() == [0, 0, 1]


def test_a_label_without_a_document_has_no_number() -> None:
    known = Knowledge((), (), {"blue": "cold", "red": "warm", "launched later": "new"})
    assert known.numbers_by_label(LABELS).tolist() == [0, -1, 1]
    assert "new" not in known.numbers(LABELS)
