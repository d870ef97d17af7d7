"""The log of a store, done again: what must be there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from gateway.knowledge.history import Place
from gateway.knowledge.rows import Rows


def gaps(rows: Rows) -> Iterator[str]:
    """Numbers that the log does not have."""
    following = 1
    for (seq,) in rows("SELECT seq FROM change ORDER BY seq"):
        if seq != following:
            yield f"the log has no change {following}" + (f" to {seq - 1}" if seq > following + 1 else "")
        following = seq + 1


@dataclass(slots=True)
class Replay:
    """`begun`: the change that began each collection that there is; `documents`: id -> version of what is current in
    it; `calibrated`: the change that did. `ended`: version -> the document, and the change that ended it. `switched`:
    the encoder that searches were last switched to, and the change; `last` is that of the log."""

    begun: dict[Place, int] = field(default_factory=dict)
    documents: dict[Place, dict[str, int]] = field(default_factory=dict)
    calibrated: dict[Place, int] = field(default_factory=dict)
    ended: dict[int, tuple[Place, str, int]] = field(default_factory=dict)
    switched: tuple[str, int] | None = None
    last: int = 0

    @classmethod
    def of(cls, rows: Rows) -> Replay:
        replay = cls()
        log = rows.connection.execute("SELECT seq, op, tenant, collection, document FROM change ORDER BY seq")
        for seq, op, *place, document_id in log:
            replay._change(seq, op, (place[0], place[1]), document_id)
        return replay

    def _change(self, seq: int, op: str, place: Place, document_id: str) -> None:
        self.last = seq
        if op == "confidence":
            self.calibrated[place] = seq
            return
        if op == "encoder":
            self.switched = (document_id, seq)
            return
        there = self.documents.get(place, {})
        for one in [*there] if op in ("create", "drop") else [document_id]:
            if one in there:
                self.ended[there.pop(one)] = (place, one, seq)
        if op == "create":
            self.begun[place], self.documents[place] = seq, {}
        elif op == "drop":
            self.begun.pop(place, None)
            self.documents.pop(place, None)
            self.calibrated.pop(place, None)
        elif op == "put":
            self.documents.setdefault(place, {})[document_id] = seq
