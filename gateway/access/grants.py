"""What a caller may do: in whose name, with which rights, and of what it has no say itself."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, field

from gateway.errors import PermissionDenied
from gateway.types import Criticality, Denial, Principal

ANY = "*"
"""Among tenants or groups: whichever the caller says."""
MATTERING = tuple(Criticality)
"""Most first."""


class Scope(enum.StrEnum):
    """What a method needs. ADMIN: changes by the admin port."""

    ASK = "ask"
    SEARCH = "search"
    READ = "read"
    WRITE = "write"
    FEEDBACK = "feedback"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Grant:
    """Of one caller, `name` for logs. The first of `tenants`, one at least, is meant where the caller names none, and
    all `groups` where it names none. `highest`: a call matters no more than this. `expires`: in seconds since 1970."""

    name: str
    scopes: frozenset[Scope]
    tenants: tuple[str, ...]
    groups: frozenset[str] = frozenset()
    highest: Criticality = Criticality.CRITICAL
    expires: float = math.inf
    usual: Principal = field(init=False)
    """Who asks where the caller says nothing."""

    def __post_init__(self) -> None:
        first = self.tenants[0]
        usual = Principal("default" if first == ANY else first, self.groups - {ANY})
        object.__setattr__(self, "usual", usual)

    def check(self, scope: Scope) -> None:
        """Raises PermissionDenied."""
        if scope not in self.scopes:
            raise PermissionDenied(Denial.SCOPE, f"the credentials do not have the scope {scope}")

    def principal(self, tenant: str | None, groups: frozenset[str] | None) -> Principal:
        """Who asks, of what the caller says to be; None where it says nothing. Raises PermissionDenied where it may not
        be that: it is never quietly somebody else."""
        if tenant is None and groups is None:
            return self.usual
        if tenant is not None and tenant not in self.tenants and ANY not in self.tenants:
            raise PermissionDenied(Denial.TENANT, "the credentials are not for this tenant")
        if groups is not None and ANY not in self.groups and not groups <= self.groups:
            raise PermissionDenied(Denial.GROUP, "the credentials are not for all of these groups")
        return Principal(
            self.usual.tenant if tenant is None else tenant, self.usual.groups if groups is None else groups
        )

    def criticality(self, claimed: Criticality) -> Criticality:
        """What the caller says, or the highest that it may say, whichever matters less."""
        return claimed if claimed is self.highest else max(claimed, self.highest, key=MATTERING.index)
