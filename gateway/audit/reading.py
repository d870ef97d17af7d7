"""Records of all chains of an audit log, in the order of their times: those that are asked for, with their texts."""

from __future__ import annotations

import contextlib
import heapq
import json
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.audit import segments as files
from gateway.audit.records import Kind
from gateway.audit.segments import Segment
from gateway.types import Policy, Route

Record = dict[str, Any]
_TEXTS = ("id", "tenant", "collection", "text_hash", "policy", "route", "reason", "label", "document", "bundle")
_NUMBERS = ("confidence", "us", "propensity")
_OF_AN_ANSWER: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(_TEXTS, str),
    **dict.fromkeys(_NUMBERS, (int, float)),
    **dict.fromkeys(("groups", "citations"), list),
    "drawn": bool,
}
"""What is read of it by name."""
_ROUTES, _POLICIES = frozenset(Route), frozenset(Policy)
POLL = 0.5


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a record must have; what is None does not matter. Times in ISO 8601, UTC: `since` on, before `until`."""

    since: str | None = None
    until: str | None = None
    kind: str | None = None
    route: str | None = None
    tenant: str | None = None
    label: str | None = None
    request_id: str | None = None
    id: str | None = None

    def matches(self, record: Record) -> bool:
        at = record.get("time", "")
        if (self.since and at < self.since) or (self.until and at >= self.until):
            return False
        for name in ("kind", "route", "tenant", "label", "request_id", "id"):
            wanted = getattr(self, name)
            if wanted is not None and record.get(name) != wanted:
                return False
        return True


def records(folder: Path, wanted: Wanted, has_text: bool = False) -> Iterator[Record]:
    """All that match, the oldest first. `has_text`: with the `text` of the question, where it was kept."""
    return heapq.merge(*(_of_chain(chain, wanted, has_text) for chain in files.chains(folder)), key=_time)


def last(folder: Path, wanted: Wanted, count: int) -> list[Record]:
    """The last so many that match, the oldest of them first."""
    found: list[Record] = []
    for chain in files.chains(folder):
        newest: list[Record] = []
        for segment in reversed(files.segments(chain)):
            here = deque(_matching(_parsed(segment), wanted), maxlen=count - len(newest))
            newest = [*here, *newest]
            if len(newest) >= count:
                break
        found += newest
    return sorted(found, key=_time)[-count:]


def followed(folder: Path, wanted: Wanted, wait: Callable[[float], None] = time.sleep) -> Iterator[Record]:
    """Those that come from now on, for ever."""
    places = {chain: _end(chain) for chain in files.chains(folder)}
    while True:
        for chain in files.chains(folder):
            for record, place in _after(chain, *places.get(chain, (0, 0))):
                places[chain] = place
                if wanted.matches(record):
                    yield record
        wait(POLL)


def _end(chain: Path) -> tuple[int, int]:
    """The newest segment's first record, and its size."""
    known = files.segments(chain)
    return (known[-1].first, known[-1].path.stat().st_size) if known else (0, 0)


def _after(chain: Path, first: int, offset: int) -> Iterator[tuple[Record, tuple[int, int]]]:
    """Whole records behind a place, each with the place behind it."""
    for segment in files.segments(chain):
        if segment.first < first:
            continue
        at = offset if segment.first == first else 0
        with contextlib.suppress(FileNotFoundError), segment.path.open("rb") as file:
            file.seek(at)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                at += len(line)
                if record := _record(line):
                    yield record, (segment.first, at)


def _of_chain(chain: Path, wanted: Wanted, has_text: bool) -> Iterator[Record]:
    known = files.segments(chain)
    for segment, following in zip(known, [*known[1:], None], strict=True):
        if wanted.since and following is not None and _began(following) < wanted.since:
            continue
        texts = texts_of(segment) if has_text else {}
        for record in _matching(_parsed(segment), wanted):
            if has_text and (text := texts.get(record.get("id", ""))) is not None:
                record["text"] = text
            yield record


def texts_of(segment: Segment) -> dict[str, str]:
    """Texts of the segment's questions by the answers' ids: those that were kept, and not forgotten."""
    found: dict[str, str] = {}
    with contextlib.suppress(FileNotFoundError):
        for line, is_whole in files.lines(segment.texts):
            if is_whole and (text := parsed_text(line)):
                found[text["id"]] = text["text"]
    return found


def parsed_text(line: bytes) -> Record:
    """`id`, `tenant` and `text` of a line; empty where there are none: it was forgotten, or is damaged, and `verify`
    names it."""
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    is_text = isinstance(found, dict) and all(isinstance(found.get(name), str) for name in ("id", "tenant", "text"))
    return found if is_text else {}


def _began(segment: Segment) -> str:
    """When the first record of a segment was written; empty where that is not known."""
    return str(next(_parsed(segment), {}).get("time", ""))


def _parsed(segment: Segment) -> Iterator[Record]:
    """Its whole records: none where it was removed for its age or size meanwhile."""
    with contextlib.suppress(FileNotFoundError):
        for line, is_whole in files.lines(segment.path):
            if is_whole and (record := _record(line)):
                yield record


def _record(line: bytes) -> Record:
    """Empty where it is none, which `verify` names."""
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) and _is_sound(found) else {}


def _is_sound(record: Record) -> bool:
    """Whether whoever reads an answer finds in it what is written of one: somebody may have put anything there."""
    if not isinstance(record.get("time"), str):
        return False
    if record.get("kind") != Kind.ANSWER:
        return True
    return all(isinstance(record.get(name), kind) for name, kind in _OF_AN_ANSWER.items()) and (
        record["route"] in _ROUTES and record["policy"] in _POLICIES
    )


def _matching(found: Iterable[Record], wanted: Wanted) -> Iterator[Record]:
    return (record for record in found if wanted.matches(record))


def _time(record: Record) -> str:
    return str(record.get("time", ""))
