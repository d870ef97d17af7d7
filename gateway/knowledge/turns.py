"""What changes of the log make of each collection, as one encoder sees it: worked out beside questions, shown later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gateway.knowledge.changes import Changed, Stored
from gateway.knowledge.encoder import Encoder, entry_of
from gateway.knowledge.generation import Part
from gateway.knowledge.history import Place
from gateway.knowledge.segment import Entry
from gateway.knowledge.store import Store


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

    def of(self, changes: Sequence[Changed], known: Mapping[int, Entry]) -> list[Turn]:
        """`known`: documents by their versions that are at hand. In any thread."""
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

    def _turn(self, place: Place, by_id: dict[str, Changed], known: Mapping[int, Entry], is_calibrated: bool) -> Turn:
        whole = by_id.pop("", None)
        if whole and whole.op == "drop":
            return Turn(place, is_dropped=True)
        new, foreign = self._entries(place, [one for one in by_id.values() if one.op == "put"], known)
        part = Part.build(new)
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
