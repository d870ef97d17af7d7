"""What is remembered of tenants, and for how long."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from gateway.rpc import tenants
from gateway.rpc.quota import Quota, Rate
from gateway.rpc.shedding import INTERVAL, Shedding, Waits
from gateway.rpc.tenants import Tenant, Tenants


def known(rate: Rate | None = None, named: Collection[str] = ()) -> Tenants:
    return Tenants(lambda name: Tenant(Quota(rate) if rate else None, Shedding(Waits())), named)


def raise_level(tenant: Tenant) -> None:
    assert tenant.shedding
    for now in (0.0, INTERVAL):
        tenant.shedding.observe(None, 1.0, 0.1, now)


def test_a_tenant_is_one_and_the_same() -> None:
    tenants = known()
    assert tenants.of("a", 0.0) is tenants.of("a", 1.0) is not tenants.of("b", 1.0)


def test_a_tenant_alone_has_no_rivals() -> None:
    tenants = known()
    assert not any(tenants.has_rivals("a", now / 10) for now in range(30))


def test_rivals_are_those_who_asked_within_the_last_second() -> None:
    tenants = known()
    asked = [("a", 0.0), ("b", 0.5), ("a", 0.6), ("a", 1.4), ("a", 1.6), ("b", 9.0), ("b", 9.1)]
    assert [tenants.has_rivals(*one) for one in asked] == [False, True, True, True, False, False, False]


def test_the_level_is_the_highest() -> None:
    tenants = known()
    tenants.of("quiet", 0.0)
    raise_level(tenants.of("noisy", 0.0))
    assert tenants.level(INTERVAL) == 1
    assert tenants.level(INTERVAL + 5) == pytest.approx(0.5)


def test_names_cost_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tenants, "MOST", 3)
    all_of_them = known()
    kept = [all_of_them.of(name, 0.0) for name in ("a", "b", "c")]
    for one in kept:
        one.in_flight = 1
    assert all_of_them.of("d", 0.0) is all_of_them.of("e", 0.0)
    assert all_of_them.of("a", 0.0) is kept[0]


def test_room_is_made_by_forgetting_who_owes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tenants, "MOST", 4)
    all_of_them = known(Rate(second=1, burst=1))
    busy, shed, spent, idle = (all_of_them.of(name, 0.0) for name in ("busy", "shed", "spent", "idle"))
    busy.in_flight = 1
    raise_level(shed)
    assert spent.quota
    spent.quota.take(0.5)
    newcomer = all_of_them.of("newcomer", 1.0)
    assert newcomer is all_of_them.of("newcomer", 1.0)
    for name, tenant in (("busy", busy), ("shed", shed), ("spent", spent)):
        assert all_of_them.of(name, 1.0) is tenant
    assert all_of_them.of("idle", 1.0) is not idle


def test_who_is_named_has_a_memory_of_its_own_however_many_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tenants, "MOST", 2)
    some = known(named=["vip"])
    for name in ("a", "b"):
        some.of(name, 0.0).in_flight = 1
    assert some.of("c", 0.0) is some.of("d", 0.0)
    assert some.of("vip", 0.0) is some.of("vip", 0.0) is not some.of("c", 0.0)
