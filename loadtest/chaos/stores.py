"""Tests 19 and 23: the knowledge base is down, slow or read-only; and what writers and readers see of each other."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from gateway.client import AsyncClient, CallFailed, Editor
from gateway.knowledge.documents import read_folder
from gateway.types import Answer, Citation, Document, Principal, Ranker, Route
from loadtest import leaks
from loadtest.chaos.neighbours import TEXTS
from loadtest.chaos.serving import Served, served, stored
from loadtest.chaos.verdicts import Terms, Verdict

PLACE = Principal("acme")
NOTES = "notes"
OURS = {"UNKNOWN", "INTERNAL"}
ARTICLES = Path("index/banking")
MENDED = 5.0
"""Seconds within which searches are tried again: their breaker waits up to 4."""
FAULTS = {
    "down": "knowledge-search=error",
    "slow": "knowledge-search=sleep:0.3",
    "down in 30 %": "knowledge-search=error%30",
}


async def down(terms: Terms) -> Verdict:
    verdict = Verdict()
    articles = {one.id: one for one in await asyncio.to_thread(read_folder, ARTICLES)}
    async with served(terms) as gateway, AsyncClient(gateway.target, timeout=2.0) as client:
        texts = [TEXTS[at % len(TEXTS)] for at in range(terms.of(30, 200))]
        sound = await _asked(client, texts)
        by_model = {
            text for text, one in zip(texts, sound, strict=True) if isinstance(one, Answer) and one.route is Route.MODEL
        }
        for name, fault in FAULTS.items():
            gateway.fail(fault)
            await asyncio.sleep(0.05)
            came = await _asked(client, texts)
            gateway.fail("")
            codes = Counter(one if isinstance(one, str) else one.route.value for one in came)
            verdict.saw(f"search {name}: {dict(codes)}")
            verdict.check(not OURS & codes.keys(), f"search {name}: {dict(codes)}")
            lost = sum(
                not (isinstance(one, Answer) and one.route is Route.MODEL)
                for text, one in zip(texts, came, strict=True)
                if text in by_model
            )
            verdict.check(lost == 0, f"search {name}: {lost} of {len(by_model)} confident answers were not given")
            cited = [one for answer in came if isinstance(answer, Answer) for one in answer.citations]
            made_up = [one for one in cited if not _is_so(one, articles)]
            verdict.check(not made_up, f"search {name}: cited, and nowhere said: {made_up[:3]}")
            seconds = await _mended(client, texts[:20], _routes(sound[:20]))
            verdict.saw(f"mended, it was as before after {seconds:.1f} s")
            verdict.check(seconds <= MENDED, f"search {name}: {MENDED:.0f} s after it was mended it is not as before")
    return verdict


def _is_so(citation: Citation, articles: Mapping[str, Document]) -> bool:
    """Whether the article that is cited says that, just there."""
    said = articles.get(citation.document_id)
    return said is not None and said.text[citation.start : citation.end] == citation.quote


async def _mended(client: AsyncClient, texts: list[str], routes: list[str]) -> float:
    """Seconds until it answers as before."""
    began = time.monotonic()
    while _routes(await _asked(client, texts)) != routes and time.monotonic() - began <= MENDED:  # noqa: ASYNC110
        await asyncio.sleep(0.1)
    return time.monotonic() - began


async def _asked(client: AsyncClient, texts: list[str]) -> list[Answer | str]:
    came: list[Answer | str] = []
    for text in texts:
        try:
            came.append(await client.answer(text))
        except CallFailed as error:
            came.append(error.code)
    return came


def _routes(came: list[Answer | str]) -> list[str]:
    return [one if isinstance(one, str) else one.route.value for one in came]


async def history(terms: Terms) -> Verdict:
    """Over gRPC whoever was told of a write sees it, and no version goes back; and beside, a store that is killed and
    restarted against plain dictionaries."""
    verdict = Verdict()
    async with served(terms, environment=stored(terms.folder / "stored")) as gateway:
        with Editor(gateway.target, PLACE, timeout=20.0) as editor:
            await asyncio.to_thread(editor.create, NOTES)
            reading = asyncio.create_task(_never_back(verdict, gateway))
            writers = terms.of(2, 6)
            writes = await asyncio.gather(
                *(_write(verdict, gateway, editor, number, terms.of(15, 300)) for number in range(writers))
            )
            reading.cancel()
            await asyncio.wait({reading})
    verdict.saw(f"{sum(writes)} writes of {writers} writers, each looked for at once")
    folder = terms.folder / "leaks"
    folder.mkdir()
    tally = await leaks.found(terms.of(300, 20_000), terms.seed, folder)
    verdict.saw(f"{tally.cases.total()} random questions, {tally.steps['crash']} crashes: {tally.leaks} wrong")
    verdict.check(tally.leaks == 0, f"{tally.leaks} questions were answered otherwise than the history allows")
    return verdict


async def _write(verdict: Verdict, gateway: Served, editor: Editor, writer: int, count: int) -> int:
    """One document, again and again; a caller of another connection who knows the version must see just that."""
    chance, name = random.Random(writer), f"d{writer}"  # noqa: S311 - a sample, no secret
    async with AsyncClient(gateway.target, PLACE, timeout=20.0) as client:
        for number in range(count):
            is_deleted = chance.random() < 0.3
            word = f"w{writer}x{number}"
            if is_deleted:
                written = await asyncio.to_thread(editor.delete, NOTES, [name])
            else:
                document = Document(name, word, "", "", f"{word}.", f"{word}.")
                written = await asyncio.to_thread(editor.upsert, NOTES, [document])
            hits = await client.search(
                word,
                collection=NOTES,
                limit=50,
                ranker=Ranker.LEXICAL,
                min_knowledge_version=written.knowledge_version,
            )
            titles = {hit.document_id: hit.title for hit in hits}
            if is_deleted:
                verdict.check(name not in titles, f"{name} was deleted and is found")
            else:
                verdict.check(titles.get(name) == word, f"{name} was written as {word} and is {titles.get(name)}")
    return count


async def _never_back(verdict: Verdict, gateway: Served) -> None:
    """The version that answers are given by, on one channel."""
    last = 0
    async with AsyncClient(gateway.target, PLACE, timeout=20.0) as client:
        while True:
            answer = await client.answer("Is there a note?", collection=NOTES)
            verdict.check(answer.knowledge_version >= last, f"version {answer.knowledge_version} after {last}")
            last = answer.knowledge_version
            await asyncio.sleep(0.005)
