"""Test 25: callers that were made before the API last changed, and a folder that was written before that."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import grpc.aio
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message

from gateway.client import Editor
from gateway.types import Document, Principal
from loadtest.chaos.neighbours import TEXTS
from loadtest.chaos.serving import served, stored
from loadtest.chaos.verdicts import Lacking, Terms, Verdict

PROTO = "protos/gateway/v1/gateway.proto"
PLACE = Principal("acme")
NOTES = "notes"
WRITTEN = 25
WRITE = f"""
import sys
from gateway.client import Editor
from gateway.types import Document, Principal
with Editor(sys.argv[1], Principal("acme"), timeout=30.0) as editor:
    editor.create("notes")
    for at in range({WRITTEN}):
        editor.upsert("notes", [Document(f"d{{at}}", f"Note {{at}}", "", "", f"This is note {{at}}.", "")])
    editor.delete("notes", ["d0"])
"""


async def mixed(terms: Terms) -> Verdict:
    verdict = Verdict()
    commit, tree = await asyncio.to_thread(_older, terms.folder / "older")
    verdict.saw(f"the commit before the API last changed: {commit[:10]}")
    data = terms.folder / "data"
    # What that commit's own gateway and client write.
    async with served(terms, environment=stored(data) | {"PYTHONPATH": str(tree)}, tree=tree) as before:
        done = await asyncio.to_thread(_run, [sys.executable, "-c", WRITE, before.target], tree)
        verdict.check(done == "", f"the older client and gateway: {done}")
    async with served(terms, environment=stored(data)) as gateway:
        with Editor(gateway.target, PLACE, timeout=10.0) as editor:
            ids = {one.document.id for one in await asyncio.to_thread(lambda: list(editor.list(NOTES)))}
            wanted = {f"d{at}" for at in range(1, WRITTEN)}
            verdict.check(
                ids == wanted, f"of an older folder {len(wanted - ids)} are gone, {len(ids - wanted)} too many"
            )
            await asyncio.to_thread(editor.upsert, NOTES, [Document("new", "New", "", "", "New.", "")])
        verdict.saw(f"its folder of {WRITTEN} documents, one deleted: {len(ids)} are there, and another is taken")
        calls = await _called(tree, gateway.target)
        verdict.saw(f"its messages: {', '.join(calls)}")
        verdict.check(all(one.endswith("OK") for one in calls), f"older messages: {calls}")
    return verdict


def _older(to: Path) -> tuple[str, Path]:
    """That commit, and its files. Raises Lacking where there is no history."""
    git = shutil.which("git")
    if git is None or not Path(".git").exists():
        raise Lacking("the version before takes git and a checkout with its history")
    last = _said([git, "log", "-1", "--format=%H", "--", PROTO])
    older = _said([git, "rev-parse", "--verify", "--quiet", f"{last}^"])
    if not older:
        raise Lacking(f"the history here does not go back beyond {last[:10]}, which changed the API last")
    archive = to.with_suffix(".tar")
    command = [
        git,
        "archive",
        f"--output={archive}",
        older,
        "gateway",
        "models",
        "index",
        "protos",
        "pyproject.toml",
    ]
    done = subprocess.run(command, capture_output=True, text=True)  # noqa: S603 - our own
    if done.returncode:
        raise Lacking(f"{older[:10]} cannot be taken from the history: {done.stderr.strip()}")
    with tarfile.open(archive) as packed:
        packed.extractall(to, filter="data")
    return older, to


def _said(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()  # noqa: S603 - our own


def _run(command: list[str], tree: Path) -> str:
    """What it said, if it failed."""
    done = subprocess.run(  # noqa: S603 - our own
        command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(tree)}, cwd=tree
    )
    return done.stderr.strip()[-500:] if done.returncode else ""


async def _called(tree: Path, target: str) -> list[str]:
    """Calls by the older messages, made from that proto alone: each with its code, OK where all that is answered is
    known to them by name."""
    kinds = await asyncio.to_thread(_messages, tree)
    calls: dict[str, tuple[str, dict[str, Any], str]] = {
        "Answers/Answer": ("AnswerRequest", {"question": TEXTS[0]}, "AnswerResponse"),
        "Answers/AnswerBatch": ("AnswerBatchRequest", {"items": [{"question": TEXTS[1]}]}, "AnswerBatchResponse"),
        "Knowledge/Search": ("SearchRequest", {"query": TEXTS[2]}, "SearchResponse"),
        "Knowledge/ListCollections": ("ListCollectionsRequest", {}, "ListCollectionsResponse"),
        "Knowledge/List": ("ListRequest", {"collection": NOTES}, "ListResponse"),
    }
    found = []
    async with grpc.aio.insecure_channel(target) as channel:
        for method, (request, fields, response) in calls.items():
            call: Any = channel.unary_unary(
                f"/gateway.v1.{method}",
                request_serializer=lambda one: one.SerializeToString(),
                response_deserializer=kinds[response].FromString,
            )
            try:
                answered: Message = await call(kinds[request](**fields), timeout=10.0, metadata=(("x-tenant", "acme"),))
                found.append(f"{method} {'OK' if answered.ByteSize() else 'empty'}")
            except grpc.aio.AioRpcError as error:
                found.append(f"{method} {error.code().name}")
    return found


def _messages(tree: Path) -> dict[str, type[Message]]:
    """Classes of the messages in that tree's proto, in a pool of their own."""
    out = tree / "older.pb"
    protos = tree / "protos"
    done = subprocess.run(  # noqa: S603 - our own
        [
            sys.executable,
            "-m",
            "grpc_tools.protoc",
            f"-I{protos}",
            "--include_imports",
            f"--descriptor_set_out={out}",
            str(tree / PROTO),
        ],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise Lacking(f"the older proto takes protoc (the [dev] extra): {done.stderr.strip()[-200:]}")
    pool: Any = descriptor_pool.DescriptorPool()
    described = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes())
    for file in described.file:
        pool.AddSerializedFile(file.SerializeToString())
    (ours,) = (one for one in described.file if one.package == "gateway.v1")
    of = pool.FindFileByName(ours.name)
    return {one.name: message_factory.GetMessageClass(of.message_types_by_name[one.name]) for one in ours.message_type}
