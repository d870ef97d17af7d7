"""The table from errors to codes."""

from __future__ import annotations

import grpc
import pytest

from gateway import errors
from gateway.rpc.status import TABLE, refusal_of
from gateway.telemetry.metrics import Code


def leaves(kind: type[errors.GatewayError]) -> set[type[errors.GatewayError]]:
    below = kind.__subclasses__()
    return {leaf for each in below for leaf in leaves(each)} if below else {kind}


def test_every_error_has_a_row() -> None:
    assert {leaf for leaf in leaves(errors.GatewayError) if leaf.__module__ == errors.__name__} == set(TABLE)


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
