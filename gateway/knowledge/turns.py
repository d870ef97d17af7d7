"""What changes of the log make of each collection, as one encoder sees it: worked out beside questions, shown later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gateway.knowledge.changes import Changed, Stored
from gateway.knowledge.encoder import Encoder, entry_of
from gateway.knowledge.generation import Generation, Part
from gateway.knowledge.history import Place
from gateway.knowledge.segment import Entry
from gateway.knowledge.store import Store


@dataclass(frozen=True, slots=True)
class Known:
    """Documents that are at hand, by their versions; and what they make of a generation, where somebody has made that
    while the disk was at work: all of them as one `part`, and the generation `after` the one `before`."""

    entries: Mapping[int, Entry] = field(default_factory=dict)
    part: Part | None = None
    before: Generation | None = None
    after: Generation | None = None

    @staticmethod
    def ahead(entries: Mapping[int, Entry], before: Generation) -> Known:
        part = Part.build(list(entries.values()))
        if part is None:
            return Known(entries)
        return Known(entries, part, before, before.with_part(max(entries), part, part.segment.by_id.keys()))

    def part_of(self, new: Sequence[Entry]) -> Part | None:
        """Of documents as the log has them."""
        is_made = self.part is not None and len(new) == len(self.entries)
        is_made = is_made and all(self.entries.get(one.version) is one for one in new)
        return self.part if is_made else Part.build(new)

    def next(self, before: Generation, version: int, turn: Turn) -> Generation:
        """It is made already where nothing else was written in between, and nothing else with it."""
        made, after = self.part, self.after
        is_it = made is not None and made is turn.part and turn.ids == set(made.segment.by_id)
        if is_it and after is not None and self.before is before and after.version == version:
            return after
        return before.with_part(version, turn.part, turn.ids)


@dataclass(frozen=True, slots=True)
class Turn:
    """Documents `ids` of one collection are replaced by those in `part`, or gone. `foreign` ones are not embedded."""

    place: Place
    is_begun: bool = False
    is_dropped: bool = False
    ids: frozenset[str] = frozenset()
    part: Part | None = None
    foreign: tuple[Stored, ...] = ()
    is_calibrated: bool = False


class Turns:
    """Of one store, for one encoder. `language` as in `lexical.Analyzer`."""

    def __init__(self, store: Store, encoder: Encoder, language: str) -> None:
        self._store = store
        self._encoder = encoder
        self._language = language

    def of(self, changes: Sequence[Changed], known: Known) -> list[Turn]:
        """In any thread."""
        last: dict[Place, dict[str, Changed]] = {}
        calibrated: set[Place] = set()
        for one in changes:
            place = one.tenant, one.collection
            if one.op == "encoder":
                continue
            if one.op in ("create", "drop"):
                last[place] = {"": one}
            elif one.op == "confidence":
                last.setdefault(place, {})
                calibrated.add(place)
            else:
                last.setdefault(place, {})[one.document_id] = one
        return [self._turn(place, by_id, known, place in calibrated) for place, by_id in last.items()]

    def _turn(self, place: Place, by_id: dict[str, Changed], known: Known, is_calibrated: bool) -> Turn:
        whole = by_id.pop("", None)
        if whole and whole.op == "drop":
            return Turn(place, is_dropped=True)
        new, foreign = self._entries(place, [one for one in by_id.values() if one.op == "put"], known.entries)
        part = known.part_of(new)
        return Turn(place, whole is not None, False, frozenset(by_id), part, tuple(foreign), is_calibrated)

    def _entries(
        self, place: Place, put: Sequence[Changed], known: Mapping[int, Entry]
    ) -> tuple[list[Entry], list[Stored]]:
        """Of documents as their changes left them, and those that are not embedded yet."""
        found = [known[one.seq] for one in put if one.seq in known]
        unknown = [one for one in put if one.seq not in known]
        vectors = self._store.vectors(self._encoder.name, self._encoder.dim, [one.seq for one in unknown])
        foreign = []
        for one in unknown:
            stored = self._store.document(*place, one.document_id, one.seq)
            if stored is None or stored.gone:  # changed again since: that change comes too
                continue
            entry = entry_of(stored, vectors, self._language)
            if entry is not None:
                found.append(entry)
            else:
                foreign.append(stored)
        return found, foreign
