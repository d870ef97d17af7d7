"""Whether an audit log is as it was written: every record's hash, number and place, and with the key also its id,
whether chance has drawn it, and the text that belongs to it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.audit import segments as files
from gateway.audit.marks import ID_LENGTH, Marker
from gateway.audit.records import GENESIS, Head, Kind, sha256_of
from gateway.audit.segments import Segment

LARGEST = 1e15


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that was changed, and where: a line of a file, counted from 1."""

    file: Path
    line: int
    problem: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.problem}"


@dataclass(slots=True)
class Findings:
    """What a chain holds: `records` from `first` to its `head`, and behind that `torn` bytes of one that is being
    written, or that a crash has left. `dropped` records were never written, `crashes` are ends without a CLOSE."""

    folder: Path
    first: int = 0
    head: Head = field(default_factory=Head)
    records: int = 0
    dropped: int = 0
    crashes: int = 0
    torn: int = 0
    faults: list[Fault] = field(default_factory=list)


def verify(folder: Path, marker: Marker | None = None, known: Mapping[int, str] | None = None) -> Findings:
    """Read one chain whole. `known`: hashes of records by number, as somebody has noted them before: the chain shows
    that nothing was changed in the middle, and only those that it was not made anew, or cut at its end.

    Without faults there is none; OSError where it cannot be read.
    """
    return _Verifying(folder, marker, dict(known or {})).findings()


class _Verifying:
    def __init__(self, folder: Path, marker: Marker | None, known: dict[int, str]) -> None:
        self._found = Findings(folder)
        self._marker = marker
        self._known = known
        self._expected: Head | None = None

    def findings(self) -> Findings:
        found = self._found
        chain = files.segments(found.folder)
        self._start(chain)
        for segment in chain:
            try:
                self._segment(segment, is_last=segment is chain[-1])
            except FileNotFoundError:  # removed for its age or size since the chain was listed
                self._expected = None
        for seq, sha256 in self._known.items():
            where = "its record is not there"
            if 0 < seq < found.first:
                where = f"its record was removed, the first one left is {found.first}"
            self._fault(found.folder, 0, f"{sha256[:12]} was known to be record {seq}, and {where}")
        return found

    def _start(self, chain: list[Segment]) -> None:
        """What comes before the first record: nothing, or what was removed. A removal may not be finished."""
        try:
            removed = files.anchored(self._found.folder)
        except ValueError as error:
            self._fault(self._found.folder / files.ANCHOR, 1, str(error))
            return
        first = chain[0].first if chain else 1
        if removed is None:
            self._expected = Head(0, GENESIS)
        elif removed.seq == first - 1:
            self._expected = removed
        elif removed.seq >= first:
            self._known.setdefault(removed.seq, removed.sha256)
        else:
            self._expected = removed  # and what is missing is named at the first record

    def _segment(self, segment: Segment, is_last: bool) -> None:
        hashes: dict[str, str] = {}
        for number, (line, is_whole) in enumerate(files.lines(segment.path), 1):
            if not is_whole and is_last:
                self._found.torn = len(line)
                break
            record = self._record(segment, number, line, is_whole)
            if self._marker and record.get("kind") == Kind.ANSWER:
                hashes[str(record.get("id"))] = str(record.get("text_hash"))
        if self._marker and segment.texts.exists():
            for fault in _texts(segment, hashes, self._marker):
                self._found.faults.append(fault)

    def _record(self, segment: Segment, number: int, line: bytes, is_whole: bool) -> dict[str, Any]:
        record = _parsed(line)
        seq = record.get("seq")
        if not is_whole:
            self._fault(segment.path, number, "is torn, and not the last")
        elif self._expected is not None and (what := _break(record, self._expected)):
            self._fault(segment.path, number, what)
        if number == 1 and seq != segment.first:
            self._fault(segment.path, 1, f"begins with record {seq}, which is not what it is named by")
        # Whatever is wrong here was said: what follows has to follow from this.
        guessed = self._expected.seq + 1 if self._expected else 0
        self._expected = Head(seq if isinstance(seq, int) else guessed, sha256_of(line))
        self._meet_known(segment, number)
        self._count(record)
        for problem in self._by_key(record):
            self._fault(segment.path, number, f"record {seq} {problem}")
        return record

    def _meet_known(self, segment: Segment, number: int) -> None:
        assert self._expected is not None
        seq, sha256 = self._expected
        if self._known.pop(seq, sha256) != sha256:
            self._fault(segment.path, number, f"record {seq} is not what it was known to be: the chain was made anew")

    def _count(self, record: dict[str, Any]) -> None:
        found = self._found
        assert self._expected is not None
        found.head = self._expected
        found.first = found.first or self._expected.seq
        found.records += 1
        if record.get("kind") == Kind.DROPPED:
            found.dropped += int(_number(record.get("count")))
        if record.get("kind") == Kind.OPEN:
            found.crashes += bool(record.get("after_crash"))

    def _by_key(self, record: dict[str, Any]) -> Iterator[str]:
        """What is wrong with an answer's id, and with its having been drawn or not."""
        if self._marker is None or record.get("kind") != Kind.ANSWER:
            return
        answer_id, tenant = str(record.get("id")), str(record.get("tenant"))
        if len(answer_id) != ID_LENGTH or not self._marker.is_given_to(tenant, answer_id):
            yield "has an id that was not given to its tenant with this key"
        elif self._marker.is_drawn(tenant, answer_id, _number(record.get("propensity"))) != record.get("drawn"):
            yield "says otherwise than chance whether it was drawn for audit"

    def _fault(self, file: Path, line: int, problem: str) -> None:
        self._found.faults.append(Fault(file, line, problem))


def _break(record: dict[str, Any], before: Head) -> str:
    """What is wrong with a record that should come after that one; nothing if it does."""
    seq = record.get("seq")
    if seq != before.seq + 1:
        return f"is record {seq} where {before.seq + 1} should be"
    if record.get("prev") != before.sha256:
        return f"record {seq} does not follow from what record {before.seq} is now: one of them was changed"
    return ""


def _parsed(line: bytes) -> dict[str, Any]:
    """Empty where it is no record."""
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _number(given: object) -> float:
    """0 for what is none: somebody may have put anything there."""
    return given if isinstance(given, int | float) and 0 <= given < LARGEST else 0.0


def _texts(segment: Segment, hashes: Mapping[str, str], marker: Marker) -> Iterator[Fault]:
    """Each text must be the one that its record stands for. One that is not there was forgotten, which is no fault."""
    for number, (line, is_whole) in enumerate(files.lines(segment.texts), 1):
        if not line.strip() or not is_whole:
            continue
        text = _parsed(line)
        wanted = hashes.get(str(text.get("id")))
        if wanted is None:
            yield Fault(segment.texts, number, "is of no record of its segment")
        elif marker.text_hash(str(text.get("tenant")), str(text.get("text"))) != wanted:
            yield Fault(segment.texts, number, "is not the text that its record was written with")
