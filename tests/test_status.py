"""The table from errors to codes."""

from __future__ import annotations

import grpc
import pytest

from gateway import errors
from gateway.rpc.status import PUSHBACK_KEY, TABLE, refusal_of, rejection_of
from gateway.telemetry.metrics import Code, Rejection


def below(kind: type[errors.GatewayError]) -> set[type[errors.GatewayError]]:
    return {each for child in kind.__subclasses__() for each in (child, *below(child))}


def test_every_error_has_a_row() -> None:
    assert {kind for kind in below(errors.GatewayError) if kind.__module__ == errors.__name__} == set(TABLE)


def test_every_code_in_use_can_be_counted() -> None:
    used = {row.code.name for row in TABLE.values()} | {"OK", "CANCELLED"}
    assert used <= {code.name for code in Code}


def test_a_subclass_is_treated_as_its_parent() -> None:
    class QueueFull(errors.Overloaded):
        pass

    assert refusal_of(QueueFull("full")).reason == "OVERLOADED"


@pytest.mark.parametrize("error", [errors.BundleInvalid("/secret/path"), RuntimeError("secret")])
def test_what_is_ours_to_mend_is_hidden(error: Exception) -> None:
    assert "secret" not in refusal_of(error).message


def test_numbers_are_those_of_google_rpc() -> None:
    assert refusal_of(errors.Unavailable("x")).number == grpc.StatusCode.UNAVAILABLE.value[0] == 14


@pytest.mark.parametrize(
    ("error", "least", "most"),
    [
        (errors.Overloaded("full"), 50, 150),
        (errors.Shed("shed", 0.0), 50, 150),
        (errors.Shed("shed", 0.5), 275, 825),
        (errors.Shed("shed", 0.8), 410, 1230),
        (errors.Shed("shed", 0.81), -1, -1),
        (errors.QuotaExceeded("acme", 0.0421), 43, 43),
        (errors.Draining("stopping"), 0, 0),
    ],
)
def test_callers_are_told_when_to_come_back(error: errors.GatewayError, least: int, most: int) -> None:
    found = [dict(refusal_of(error).trailers())[PUSHBACK_KEY] for _ in range(100)]
    assert all(least <= int(one) <= most for one in found)
    assert len(set(found)) == 1 or least != most


@pytest.mark.parametrize("error", [errors.DeadlineUnmeetable("late"), errors.Unavailable("down")])
def test_where_coming_back_helps_nobody_nothing_is_said(error: errors.GatewayError) -> None:
    assert PUSHBACK_KEY not in dict(refusal_of(error).trailers())


@pytest.mark.parametrize(
    ("error", "rejection"),
    [
        (errors.QuotaExceeded("acme", 1.0), Rejection.QUOTA),
        (errors.Overloaded("full"), Rejection.OVERLOAD),
        (errors.Shed("shed", 0.5), Rejection.SHED),
        (errors.DeadlineUnmeetable("late"), Rejection.DEADLINE),
        (errors.Draining("stopping"), Rejection.DRAINING),
        (errors.DeadlineExceeded("late"), None),
        (errors.Unavailable("down"), None),
        (RuntimeError("bug"), None),
    ],
)
def test_only_what_was_refused_before_work_counts_as_rejected(error: Exception, rejection: Rejection | None) -> None:
    assert rejection_of(error) is rejection
