"""Who may do what: grants, the file of callers, and who is found in it."""

from __future__ import annotations

import json
import math
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.access import keys
from gateway.access.authority import Authority
from gateway.access.grants import ANY, Grant, Scope
from gateway.access.watched import Watched
from gateway.errors import ConfigInvalid, PermissionDenied, Unauthenticated
from gateway.types import Criticality, Principal
from tests.callers import created, run

NOW = 1_800_000_000.0
ALL = frozenset(Scope)


# What a grant allows.


@pytest.mark.parametrize(
    ("tenants", "groups", "claimed", "expected"),
    [
        (("acme",), {"staff"}, (None, None), Principal("acme", frozenset({"staff"}))),
        (("acme", "beta"), {"staff", "legal"}, ("beta", {"legal"}), Principal("beta", frozenset({"legal"}))),
        (("acme",), {"staff"}, ("acme", set()), Principal("acme")),
        ((ANY,), set(), (None, None), Principal("default")),
        ((ANY,), {ANY}, ("any", {"x", "y"}), Principal("any", frozenset({"x", "y"}))),
        ((ANY,), {ANY}, ("any", None), Principal("any")),
        (("acme", ANY), {"staff", ANY}, (None, None), Principal("acme", frozenset({"staff"}))),
        (("acme",), set(), ("beta", None), "this tenant"),
        (("acme",), {"staff"}, (None, {"staff", "board"}), "these groups"),
        (("acme",), set(), ("default", None), "this tenant"),
    ],
)
def test_a_caller_is_whom_its_grant_lets_it_be(
    tenants: tuple[str, ...],
    groups: set[str],
    claimed: tuple[str | None, set[str] | None],
    expected: Principal | str,
) -> None:
    grant = Grant("one", ALL, tenants, frozenset(groups))
    tenant, some = claimed[0], None if claimed[1] is None else frozenset(claimed[1])
    if isinstance(expected, Principal):
        assert grant.principal(tenant, some) == expected
        return
    with pytest.raises(PermissionDenied, match=expected) as refused:
        grant.principal(tenant, some)
    assert "acme" not in str(refused.value)


NAMES = st.sampled_from(["a", "b", "c", "d"])


@given(st.lists(NAMES, min_size=1), st.frozensets(NAMES), st.none() | NAMES, st.none() | st.frozensets(NAMES))
def test_nobody_becomes_somebody_else(
    tenants: list[str], groups: frozenset[str], tenant: str | None, some: frozenset[str] | None
) -> None:
    try:
        found = Grant("one", ALL, tuple(tenants), groups).principal(tenant, some)
    except PermissionDenied:
        assert tenant not in (None, *tenants) or not (some or frozenset()) <= groups
    else:
        assert found.tenant in tenants
        assert found.groups <= groups


@pytest.mark.parametrize(
    ("highest", "claimed", "expected"),
    [
        (Criticality.CRITICAL, Criticality.CRITICAL_PLUS, Criticality.CRITICAL),
        (Criticality.CRITICAL, Criticality.SHEDDABLE, Criticality.SHEDDABLE),
        (Criticality.SHEDDABLE, Criticality.CRITICAL, Criticality.SHEDDABLE),
        (Criticality.CRITICAL_PLUS, Criticality.CRITICAL_PLUS, Criticality.CRITICAL_PLUS),
    ],
)
def test_no_call_matters_more_than_its_grant_lets_it(
    highest: Criticality, claimed: Criticality, expected: Criticality
) -> None:
    assert Grant("one", ALL, ("a",), highest=highest).criticality(claimed) is expected


# The file, as the command line writes it and a gateway reads it.


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "callers.json"


def authority(
    file: Path, told: Callable[[bool], None] = lambda _: None, clock: Callable[[], float] = lambda: NOW
) -> Authority:
    return Authority(Watched("file", [file], lambda: keys.callers_in(file), told), clock=clock)


def test_a_key_that_was_created_is_known_by_its_hash_alone(file: Path) -> None:
    key = created(file, "--scope", "write", "--tenant", "acme", "--group", "staff", "--criticality", "sheddable")
    assert key.startswith("gw_")
    assert len(key) > 40
    grant = authority(file).of_header(f"Bearer {key}")
    assert (grant.scopes, grant.tenants) == (frozenset({Scope.WRITE}), ("acme",))
    assert grant.groups == frozenset({"staff"})
    assert (grant.highest, grant.expires) == (Criticality.SHEDDABLE, math.inf)
    assert key not in file.read_text()
    assert key.rpartition("_")[2] not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert key not in run(file, "list").output


@pytest.mark.parametrize(
    "shown", ["", "Bearer", "Bearer ", "Bearer gw_0_x", "Basic {key}", "{key}", "Bearer {key}x", "Bearer \udcff"]
)
def test_who_is_not_known_is_told_no_more_than_that(file: Path, shown: str) -> None:
    key = created(file)
    with pytest.raises(Unauthenticated) as refused:
        authority(file).of_header(shown.format(key=key))
    assert key not in str(refused.value)
    assert authority(file).of_header(f"bearer {key}").name.startswith("one (")


def test_a_key_ends_with_its_days(file: Path) -> None:
    key = created(file, "--days", "0.5")
    soon = keys.now().timestamp()
    assert authority(file, clock=lambda: soon + 43_000).of_header(f"Bearer {key}")
    with pytest.raises(Unauthenticated) as refused:
        authority(file, clock=lambda: soon + 43_300).of_header(f"Bearer {key}")
    assert refused.value.reason == "expired"


def test_who_is_revoked_is_out_once_the_file_was_read(file: Path) -> None:
    key, other = created(file), created(file)
    serving = authority(file)
    assert "revoked" in run(file, "revoke", key.split("_")[1]).output
    assert serving.of_header(f"Bearer {key}")
    for _ in range(2):
        serving.watched[0].look()
    with pytest.raises(Unauthenticated):
        serving.of_header(f"Bearer {key}")
    assert serving.of_header(f"Bearer {other}")
    assert f"{key.split('_')[1]}  one: revoked" in run(file, "list").output


def test_a_broken_file_changes_nothing_and_nothing_of_it_is_repeated(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    key, told = created(file), list[bool]()
    serving = authority(file, told.append)
    content = json.loads(file.read_text())
    content["callers"][0]["sha256"] = "gw_1_hunter2hunter2"
    file.write_text(json.dumps(content))
    for _ in range(2):
        serving.watched[0].look()
    assert told == [False]
    assert serving.of_header(f"Bearer {key}")
    assert "callers.0.sha256" in caplog.text
    assert "hunter2" not in caplog.text


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"scopes": []}, r"callers\.0\.scopes"),
        ({"scopes": ["everything"]}, r"callers\.0\.scopes"),
        ({"tenants": []}, r"callers\.0\.tenants"),
        ({"tenants": ["a b"]}, r"callers\.0\.tenants"),
        ({"sha256": None}, r"needs either sha256 or certificate_name"),
        ({"certificate_name": "x.example"}, r"needs either sha256 or certificate_name"),
        ({"tenant": "acme"}, r"callers\.0\.tenant: "),
    ],
)
def test_a_file_that_says_nothing_sensible(file: Path, change: dict[str, object], problem: str) -> None:
    created(file)
    content = json.loads(file.read_text())
    content["callers"][0] |= change
    file.write_text(json.dumps(content))
    with pytest.raises(ConfigInvalid, match=rf"callers\.json: .*{problem}"):
        authority(file)


def test_a_file_that_is_not_there_is_made_by_a_command(file: Path) -> None:
    with pytest.raises(ConfigInvalid, match=r"callers\.json: cannot be read .*`gateway keys create --file"):
        authority(file)


def test_a_file_has_nobody_twice(file: Path) -> None:
    created(file)
    content = json.loads(file.read_text())
    file.write_text(json.dumps(content | {"callers": 2 * content["callers"]}))
    with pytest.raises(ConfigInvalid, match="the same id"):
        authority(file)


def test_a_certificate_s_name_has_one_caller(file: Path) -> None:
    name = ("--certificate-name", "spiffe://acme/billing")
    assert run(file, "create", "mesh", *name, "--tenant", "acme").exit_code == 0
    assert "revoke that one first" in run(file, "create", "again", *name).output
    found = authority(file)
    assert found.of_names(["other.example", "spiffe://acme/billing"]).tenants == ("acme",)
    with pytest.raises(Unauthenticated):
        found.of_names(["spiffe://acme/billing/x", "SPIFFE://acme/billing"])
    assert run(file, "revoke", keys.read(file).callers[0].id).exit_code == 0
    assert run(file, "create", "again", *name).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("create", "one", "--tenant", "a b"), "'a b' is neither '*' nor 1 to 63 letters"),
        (("create", "one", "--scope", "all"), "'all' is not one of"),
        (("create", "one", "--days", "0"), "is not in the range"),
        (("revoke", "nobody"), "there is no caller nobody; `gateway keys list` names them"),
    ],
)
def test_what_the_command_refuses(file: Path, arguments: tuple[str, ...], problem: str) -> None:
    created(file)
    before = file.read_bytes()
    result = run(file, *arguments)
    assert result.exit_code != 0
    assert problem in result.output
    assert file.read_bytes() == before
