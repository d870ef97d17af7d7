"""What should be in the knowledge base: plain dictionaries, and the changes that are made to them by chance.

The oracle knows of nothing that the product has: no segments, no masks, no log. It tells for each batch of changes what
the log must have of it, so that it can tell of a store that died how far it got.
"""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from gateway.knowledge.changes import Change, Create, Drop, Put, Remove
from gateway.types import Document, Principal

TENANTS, COLLECTIONS = ("acme", "globex", "initech"), ("help", "staff")
"""Collections of every tenant have the same names, and documents the same ids."""
IDS = tuple(f"d{at}" for at in range(48))
GROUPS = ("hr", "legal", "ops", "board")
SUBJECTS = ("card", "fee", "pin", "loan", "post", "limit", "app", "tax", "rate", "branch")
PAGES = 6
DAY = 100.0
"""Of the made clock: dates of documents lie within some days."""

Place = tuple[str, str]
Line = tuple[str, Place, str]
"""Of the log: what, where, which document."""


@dataclass(frozen=True, slots=True)
class Kept:
    document: Document
    version: int
    marker: str
    """A word that no other text has ever had."""


@dataclass(frozen=True, slots=True)
class Past:
    """A line of the log with what it was about: `groups` of a document that was written."""

    version: int
    op: str
    document_id: str = ""
    groups: frozenset[str] = frozenset()


@dataclass(slots=True)
class Oracle:
    """`there` has the collections that there are, each with its documents; `past` what was done to each."""

    there: dict[Place, dict[str, Kept]] = field(default_factory=dict)
    past: dict[Place, list[Past]] = field(default_factory=dict)
    old: dict[Place, list[Kept]] = field(default_factory=dict)
    """Some that were superseded or deleted, latest last."""
    last: int = 0
    now: float = 10 * DAY

    def visible(self, place: Place, principal: Principal) -> dict[str, Kept]:
        """What that principal must find, and nothing else."""
        mine = self.there.get(place, {})
        return {name: one for name, one in mine.items() if self.may_see(one.document, principal)}

    def may_see(self, document: Document, principal: Principal) -> bool:
        return may_read(document.groups, principal) and document.effective <= self.now < document.expires

    def done(self, place: Place, changes: Sequence[Change]) -> tuple[list[Line], list[int]]:
        """Do them. What the log must have of it, and the receipt."""
        lines, versions = [], []
        for one in changes:
            line = self._done(place, one)
            if line is not None:
                self.last += 1
                self._remember(place, one)
                lines.append(line)
            versions.append(self.last if line is not None else 0)
        return lines, versions

    def _done(self, place: Place, change: Change) -> Line | None:
        """None where it changes nothing."""
        mine = self.there.get(place)
        if isinstance(change, Create):
            return ("create", place, "") if mine is None else None
        if isinstance(change, Drop):
            return ("drop", place, "") if mine is not None else None
        assert mine is not None
        if isinstance(change, Remove):
            return ("remove", place, change.document_id) if change.document_id in mine else None
        assert isinstance(change, Put)  # no confidences here
        return ("put", place, change.document.id)

    def _remember(self, place: Place, change: Change) -> None:
        old, past = self.old.setdefault(place, []), self.past.setdefault(place, [])
        if isinstance(change, Create):
            self.there[place] = {}
            past.append(Past(self.last, "create"))
        elif isinstance(change, Drop):
            old += self.there.pop(place).values()
            past.append(Past(self.last, "drop"))
        elif isinstance(change, Remove):
            old.append(self.there[place].pop(change.document_id))
            past.append(Past(self.last, "remove", change.document_id))
        elif isinstance(change, Put):
            mine, document = self.there[place], change.document
            if document.id in mine:
                old.append(mine[document.id])
            mine[document.id] = Kept(document, self.last, document.text.split()[0])
            past.append(Past(self.last, "put", document.id, document.groups))
        del old[:-200]

    def fork(self) -> Oracle:
        """Another one, to try what comes next on; without the past."""
        return Oracle({place: dict(mine) for place, mine in self.there.items()}, last=self.last, now=self.now)

    def since(self, place: Place) -> int:
        """The change that began it."""
        return max((one.version for one in self.past.get(place, ()) if one.op == "create"), default=0)

    def last_groups(self, place: Place, document_id: str) -> frozenset[str]:
        """Of the document as it was written last."""
        written = [one.groups for one in self.past[place] if (one.op, one.document_id) == ("put", document_id)]
        return written[-1] if written else frozenset()

    def readable_at(self, place: Place, principal: Principal, version: int) -> set[str]:
        """Ids that the principal might read then, whatever the time."""
        found: set[str] = set()
        for one in self.past.get(place, ()):
            if one.version > version:
                break
            if one.op in ("create", "drop"):
                found.clear()
            elif one.op == "put" and may_read(one.groups, principal):
                found.add(one.document_id)
            else:
                found.discard(one.document_id)
        return found


class Chance:
    """Makes changes and principals. `has_dates`: of documents that are found only for a time."""

    def __init__(self, chance: random.Random, has_dates: bool = True) -> None:
        self.random = chance
        self._has_dates = has_dates
        self._made = 0

    def place(self) -> Place:
        return self.random.choice(TENANTS), self.random.choice(COLLECTIONS)

    def principal(self, place: Place) -> Principal:
        return Principal(place[0], frozenset(self.random.sample(GROUPS, self.random.choice((0, 1, 1, 2, 4)))))

    def batch(self, oracle: Oracle, place: Place) -> list[Change]:
        """Changes that make sense together, as the oracle has it now."""
        roll = self.random.random()
        if place not in oracle.there:
            return [Create(), *self._puts(oracle, place)]
        if roll < 0.01:
            return [Drop(), Create(), *self._puts(oracle, place)] if roll < 0.005 else [Drop()]
        if roll < 0.25:
            return [Remove(one) for one in self.random.sample(IDS, self.random.randint(1, 4))]
        if roll < 0.4 and oracle.there[place]:
            return [self._revoked(oracle, place)]
        return self._puts(oracle, place)

    def _puts(self, oracle: Oracle, place: Place) -> list[Change]:
        names = self.random.sample(IDS, self.random.choice((1, 1, 2, 5)))
        return [Put(self._document(oracle, place, name)) for name in names]

    def _revoked(self, oracle: Oracle, place: Place) -> Change:
        """The same text, for others."""
        kept = self.random.choice(list(oracle.there[place].values()))
        return Put(dataclasses.replace(kept.document, groups=self._groups()))

    def _document(self, oracle: Oracle, place: Place, name: str) -> Document:
        self._made += 1
        marker = f"k{self._made}{place[0]}{place[1]}"
        words = [self.random.choice(SUBJECTS) for _ in range(self.random.randint(2, 12))]
        answer = f"{marker} {' '.join(words)}."
        body = "\n\n".join(
            f"## Part {at}\n\n{marker} {' '.join(self.random.choices(SUBJECTS, k=20))} n{self.random.randrange(60)}."
            for at in range(self.random.choice((0, 0, 1, 3)))
        )
        uri = f"https://{place[0]}.example/{self.random.randrange(PAGES)}" if self.random.random() < 0.5 else ""
        effective, expires = self._dates(oracle.now)
        title = f"{self.random.choice(SUBJECTS)} {marker}"
        text = f"{answer}\n\n{body}\n"
        return Document(name, title, uri, "2026-01-01", answer, text, self._groups(), effective, expires)

    def _groups(self) -> frozenset[str]:
        return frozenset(self.random.sample(GROUPS, self.random.choice((0, 0, 1, 1, 2))))

    def _dates(self, now: float) -> tuple[float, float]:
        """Of most none; of others so that they come, and go, soon."""
        if not self._has_dates or self.random.random() < 0.7:
            return 0.0, math.inf
        effective = max(0.0, now + DAY * self.random.uniform(-2, 1))
        return effective, math.inf if self.random.random() < 0.3 else effective + DAY * self.random.uniform(0.2, 3)


def may_read(groups: frozenset[str], principal: Principal) -> bool:
    return not groups or bool(groups & principal.groups)
