"""One question by one principal, and what is wrong with its answer: what was seen that must not be, what was not found
that must be."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

from gateway.cascade import words as by_words
from gateway.cascade.policy import Thresholds
from gateway.errors import KnowledgeCleared, UnknownCollection, UnknownDocument
from gateway.knowledge.base import key
from gateway.knowledge.documents import plain_text
from gateway.knowledge.watching import Told, Watching
from gateway.rpc.reading import Reading
from gateway.types import Citation, Document, Evidence, Hit, Principal, Question, Ranker, Standing
from gateway.v1 import gateway_pb2 as pb
from loadtest.leak_world import IDS, SUBJECTS, Chance, Kept, Oracle, Place, may_read
from loadtest.proof import CLOSE, Desk, asked, embed

LIMITS = (1, 3, 10, 60)
CITATIONS = 2
FURTHEST = 60
"""Changes back from which is watched, but when all is."""
QUOTED = 12
"""Characters."""


@dataclass(frozen=True, slots=True)
class Case:
    desk: Desk
    oracle: Oracle
    chance: Chance
    place: Place
    principal: Principal

    @property
    def is_there(self) -> bool:
        return self.place in self.oracle.there

    @property
    def visible(self) -> dict[str, Kept]:
        return self.oracle.visible(self.place, self.principal)

    @property
    def name(self) -> str:
        return key(*self.place)


Asked = tuple[str, list[str]]
"""What was asked, in words, and what is wrong with the answer."""


async def search(case: Case, ranker: Ranker) -> Asked:
    chance = case.chance.random
    marker, words = _marker(case), chance.sample(SUBJECTS, chance.randint(1, 3))
    text = chance.choice((marker, marker, f"{marker} {' '.join(words)}", " ".join(words)))
    limit = chance.choice(LIMITS)
    found = _searched(case, text, ranker, limit)
    wrong = _wrong_hits(case, text, found)
    visible = case.visible
    if ranker is not Ranker.LEXICAL and len(found.hits) != min(limit, len(visible)):
        wrong.append(f"{len(found.hits)} documents of {len(visible)} that there are")
    if text == marker:
        wrong += _wrong_marked(case, marker, ranker, limit, found)
    return f"{text!r}, the first {limit}", wrong


def _searched(case: Case, text: str, ranker: Ranker, limit: int) -> Evidence:
    return case.desk.library.search(case.name, text, asked(text), case.principal, limit, CITATIONS, ranker)


def _wrong_cosine(text: str, hit: Hit) -> list[str]:
    """Whether the nearest passage is as near as its own words make it, and not those of another one."""
    if not hit.citations:
        return []
    nearest = hit.citations[0]
    question, passage = embed([text, f"{nearest.title}. {plain_text(nearest.quote)}"])
    cosine = float(question @ passage)
    return [] if abs(cosine - nearest.similarity) < CLOSE else [f"{hit.document.id} is said to be {nearest.similarity}"]


def _wrong_hits(case: Case, text: str, found: Evidence) -> list[str]:
    wrong = [one for hit in found.hits for one in (*_wrong_hit(case, hit), *_wrong_cosine(text, hit))]
    if len({hit.document.id for hit in found.hits}) != len(found.hits):
        wrong.append("a document was found twice")
    return wrong


def _wrong_hit(case: Case, hit: Hit) -> list[str]:
    kept = case.visible.get(hit.document.id)
    cited = [_described(one) for one in hit.citations if kept and not _is_of(one, kept)]
    return _wrong_document(case, hit.document) + cited


def _wrong_marked(case: Case, marker: str, ranker: Ranker, limit: int, found: Evidence) -> list[str]:
    """By a word that one text alone says: that one is found by its words, and no other. Where nobody may see that text,
    a search by words and meaning must go as if the word were nowhere."""
    that = {name for name, one in case.visible.items() if one.marker == marker}
    ids = [hit.document.id for hit in found.hits]
    if ranker is Ranker.LEXICAL:
        return [] if set(ids) == that else [f"found {ids}, and {sorted(that)} says it"]
    if ranker is Ranker.HYBRID and not that:
        dense = [hit.document.id for hit in _searched(case, marker, Ranker.DENSE, limit).hits]
        return [] if dense == ids else [f"{ids}, without the word {dense}: a text that is not to be seen was heard"]
    return []


async def words(case: Case) -> Asked:
    """What is searched and answered while the model does not run."""
    marker, limit = _marker(case), case.chance.random.choice(LIMITS)
    found = case.desk.library.search_by_words(case.name, marker, case.principal, limit, CITATIONS)
    wrong = [one for hit in found.hits for one in _wrong_hit(case, hit)]
    wrong += _wrong_marked(case, marker, Ranker.LEXICAL, limit, found)
    question = Question(marker, case.name, case.principal, max_citations=CITATIONS)
    answer = by_words.answer(case.desk.library, question, Thresholds(answer=1.0, evidence=0.5), bundle="none")
    named = {answer.document_id, *answer.suggestions, *(one.document_id for one in answer.citations)} - {""}
    wrong += [f"{one} was named" for one in sorted(named - case.visible.keys())]
    if (kept := case.visible.get(answer.document_id)) and answer.text != kept.document.answer:
        wrong.append(f"{kept.document.id} was answered with {answer.text[:40]!r}")
    return f"{marker!r} by words, the first {limit}", wrong


async def rank(case: Case) -> Asked:
    chance, visible = case.chance.random, case.visible
    also, least = tuple(chance.sample(IDS, 3)), chance.choice(LIMITS)
    text = f"{_marker(case)} {chance.choice(SUBJECTS)}"
    ids = {one for one, _ in case.desk.library.rank(case.name, asked(text), case.principal, least, also).documents}
    wrong = [f"{one} was ranked" for one in sorted(ids - visible.keys())]
    wrong += [f"{one} was named and not ranked" for one in also if one in visible and one not in ids]
    if len(ids) < min(least, len(visible)):
        wrong.append(f"{len(ids)} documents of {len(visible)} that there are")
    return f"{text!r}, {least} and {also}", wrong


async def counts(case: Case) -> Asked:
    documents, _ = case.desk.library.counts(case.name, case.principal)
    wrong = [f"{documents} documents, and there are {len(case.visible)}"] if documents != len(case.visible) else []
    return "how many", wrong


async def read(case: Case) -> Asked:
    name = case.chance.random.choice(IDS)
    hit = case.desk.library.read(case.name, name, asked("card"), case.principal, CITATIONS)
    if hit is None:
        return name, ["is not there"] if name in case.visible else []
    return name, _wrong_hit(case, hit)


async def standing(case: Case) -> Asked:
    name = case.chance.random.choice(IDS)
    kept = case.oracle.there[case.place].get(name)
    old = [one for one in case.oracle.old[case.place][-20:] if one.document.id == name]
    known = case.chance.random.choice([None, kept, *old[-1:]])
    content = known.document.content_hash if known else ""
    found = case.desk.library.standing(case.name, name, content, case.principal)
    if kept is None or not kept.document.effective <= case.oracle.now < kept.document.expires:
        expected = Standing.WITHDRAWN
    elif not may_read(kept.document.groups, case.principal):
        expected = Standing.FORBIDDEN
    else:
        is_known = not content or content == kept.document.content_hash
        expected = Standing.CURRENT if is_known else Standing.CHANGED
    return name, [] if found is expected else [f"is {found}, and should be {expected}"]


async def citation(case: Case) -> Asked:
    """By the API's own servicer: of this collection, of any other, of what is superseded."""
    oracle, chance = case.oracle, case.chance.random
    where = chance.choice([case.place, case.place, chance.choice(list(oracle.there))])
    some = [*oracle.there[where].values(), *oracle.old[where][-20:]]
    if not some:
        return "nothing", []
    kept = chance.choice(some)
    request = pb.GetCitationRequest(
        collection=case.place[1], document_id=kept.document.id, version=kept.version, start=0, end=QUOTED
    )
    asks = SimpleNamespace(caller=SimpleNamespace(principal=case.principal))
    reading = Reading(cast(Any, None), cast(Any, _Reach(case.desk)), None, 0)
    is_current = where == case.place and case.visible.get(kept.document.id) == kept
    said = f"{kept.document.id} at version {kept.version} of {where}"
    try:
        found = await reading.get_citation(request, cast(Any, asks))
    except UnknownDocument:
        return said, ["is not there"] if is_current else []
    may = (
        where == case.place
        and kept.version > oracle.since(where)
        and may_read(kept.document.groups, case.principal)
        and may_read(oracle.last_groups(where, kept.document.id), case.principal)
    )
    wrong = [] if may else ["was shown"]
    return said, wrong + ([] if found.citation.quote == kept.document.text[:QUOTED] else [found.citation.quote])


@dataclass(frozen=True, slots=True)
class _Reach:
    """What the servicer needs of its own, for a desk."""

    desk: Desk

    async def collection(self, tenant: str, collection: str) -> Desk:
        self.desk.library.generation(key(tenant, collection))
        return self.desk


async def watch(case: Case) -> Asked:
    """What is told must lead from what could be read then to what can be read now."""
    oracle, chance = case.oracle, case.chance.random
    after = 0 if chance.random() < 0.05 else max(1, oracle.last - chance.randint(0, FURTHEST))
    after = min(after, oracle.last)
    told: list[Told] = []
    said = f"after {after}"
    with contextlib.suppress(KnowledgeCleared):
        async with contextlib.aclosing(Watching(case.desk.store).changes(case.place, case.principal, after)) as feed:
            async for one in feed:
                told.append(one)
                if one.op in ("seen", "end"):
                    break
        return said, _wrong_told(case, after, told)
    return said, []


def _wrong_told(case: Case, after: int, told: Sequence[Told]) -> list[str]:
    oracle = case.oracle
    begun = after or oracle.since(case.place)
    ever = oracle.readable_at(case.place, case.principal, begun)
    known = set(ever)
    for line in oracle.past.get(case.place, ()):
        if line.version > begun and line.op == "put" and may_read(line.groups, case.principal):
            ever.add(line.document_id)
    wrong = [f"{one} was told of" for one in told if one.document_id and one.document_id not in ever]
    if any(line.op == "drop" and line.version > begun for line in oracle.past.get(case.place, ())):
        return wrong + ([] if told and told[-1].op == "end" else ["its end was not told"])
    for one in told:
        if one.op == "put":
            known.add(one.document_id)
        elif one.op == "delete":
            known.discard(one.document_id)
    now = oracle.readable_at(case.place, case.principal, oracle.last)
    # What has dates may be told when its time comes.
    always = {name for name, one in oracle.there.get(case.place, {}).items() if _is_always(one.document)}
    wrong += [f"{name} is not known" for name in sorted((now - known) & always)]
    return wrong + [f"{name} is still known" for name in sorted(known - now)]


def _is_always(document: Document) -> bool:
    return document.effective == 0 and document.expires == float("inf")


def _wrong_document(case: Case, document: Document) -> list[str]:
    kept = case.visible.get(document.id)
    if kept is None:
        return [f"{document.id} {document.text.split()[0]} of {set(document.groups) or 'everybody'} was shown"]
    if document != kept.document:
        return [f"{document.id} was shown as {document.text.split()[0]}, and is {kept.marker}, or has other fields"]
    return []


def _is_of(citation: Citation, kept: Kept) -> bool:
    text = kept.document.text[citation.start : citation.end]
    return (citation.document_id, citation.version, citation.quote) == (kept.document.id, kept.version, text)


def _described(citation: Citation) -> str:
    return f"{citation.document_id} at version {citation.version} was cited: {citation.quote[:40]!r}"


def _marker(case: Case) -> str:
    """Of a text that is, or was, somewhere: half of the time in the collection that is asked."""
    oracle, chance = case.oracle, case.chance.random
    where = case.place if chance.random() < 0.5 else chance.choice(list(oracle.there))
    some = [*oracle.there[where].values()] if chance.random() < 0.6 else oracle.old[where][-60:]
    return chance.choice(some).marker if some else "k0"


def by(ranker: Ranker) -> Callable[[Case], Awaitable[Asked]]:
    return lambda case: search(case, ranker)


KINDS: dict[str, tuple[int, Callable[[Case], Awaitable[Asked]]]] = {
    "hybrid": (25, by(Ranker.HYBRID)),
    "dense": (15, by(Ranker.DENSE)),
    "lexical": (15, by(Ranker.LEXICAL)),
    "words": (10, words),
    "rank": (15, rank),
    "read": (10, read),
    "standing": (8, standing),
    "citation": (6, citation),
    "counts": (3, counts),
    "watch": (3, watch),
}
"""With how often each is asked."""


async def tried(case: Case, kind: str) -> Asked:
    """Where the collection is not there, that must be said; what has ended may still be watched to its end."""
    if case.is_there or kind == "watch":
        try:
            return await KINDS[kind][1](case)
        except Exception as error:  # noqa: BLE001 - whatever it is, there should have been an answer
            return "a question", [f"raised {error!r}"]
    try:
        case.desk.library.search(case.name, "card", asked("card"), case.principal, 1, 1)
    except UnknownCollection:
        return "no collection", []
    return "no collection", ["was found"]
