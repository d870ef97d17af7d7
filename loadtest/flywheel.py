"""The parts of a turn of the flywheel: a gateway that is asked and judged, the reviewer of a harvest, the figures."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.audit.cases import FILE as CASES
from gateway.cascade.bounds import upper
from gateway.client import CallFailed, Client
from gateway.types import Answer, Principal, Route
from loadtest.flywheel_world import Asked
from loadtest.ports import free_port
from loadtest.processes import Process, ServerFailed
from loadtest.startup import DIRECT

CUSTOMERS, AUDITORS = "customers", "auditors"
"""Tenants: the texts of the one are kept and harvested, those of the other are not."""
REVIEWERS = ("correct", "reject", "accept")
"""What becomes of a wrong proposal: what is right is named instead, it is rejected, or it is accepted unread."""
TIMEOUT, TRIES = 10.0, 5
"""Seconds of a question, and how often it is asked: what is measured is what is answered, and not how soon. 10 s is
the most that a gateway grants."""
LATE = "DEADLINE_EXCEEDED"
PATIENCE = 120.0
SETTLED = 1.0
"""Seconds until what was answered is in the audit log."""
LEVEL = 0.05
CONFIG = """\
[audit]
folder = {folder}
share = {share}
text_tenants = ["{customers}"]
# The certificate is to be compared, so nothing else may change the threshold meanwhile; alarms are told all the same.
tighten = false

[drift]
mode = "observe"

[knowledge.collections]
{collection} = {documents}
"""


class StepFailed(RuntimeError):
    """A command of the story failed; the message has its words."""


def gateway(*arguments: str | Path, allowed: tuple[int, ...] = (0,)) -> str:
    """Run `gateway ARGUMENTS` and return what it prints. Raises StepFailed for another exit code than `allowed`."""
    command = [sys.executable, "-m", "gateway", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
    if done.returncode not in allowed:
        words = (done.stderr or done.stdout).strip()[-2000:]
        raise StepFailed(f"gateway {' '.join(map(str, arguments))}: exit code {done.returncode}: {words}")
    return done.stdout


@dataclass(frozen=True, slots=True)
class Served:
    """A gateway that runs: HOST:PORT of its callers and of its operators, and where its audit log is."""

    target: str
    admin: str
    audit: Path

    def ask(self, questions: Sequence[Asked], tenant: str) -> list[Answer]:
        """One after the other. Raises client.CallFailed."""
        with Client(self.target, Principal(tenant=tenant), timeout=TIMEOUT) as client:
            return [_patiently(client, one.text) for one in questions]

    def judge(self, questions: Sequence[Asked], answers: Sequence[Answer]) -> int:
        """Give a verdict on each answer that chance has drawn. How many that were."""
        drawn = [(one, answer) for one, answer in zip(questions, answers, strict=True) if answer.audited]
        with Client(self.target, Principal(tenant=CUSTOMERS), timeout=TIMEOUT) as client:
            for one, answer in drawn:
                is_right = one.is_right(answer)
                document = "" if is_right else one.document
                client.feedback(
                    answer.audit_id,
                    is_correct=is_right,
                    document_id=document,
                    no_answer=not (is_right or document),
                )
        return len(drawn)

    def status(self) -> dict[str, Any]:
        """What the admin port says."""
        with DIRECT.open(f"http://{self.admin}/status", timeout=PATIENCE) as response:
            found: dict[str, Any] = json.load(response)
        return found


def _patiently(client: Client, text: str) -> Answer:
    for _ in range(TRIES - 1):
        try:
            return client.answer(text)
        except CallFailed as error:
            if error.code != LATE:
                raise
    return client.answer(text)


@contextmanager
def serving(bundle: Path, documents: Path, folder: Path, share: float) -> Iterator[Served]:
    """A gateway over the collection in `documents`, with an audit log of which `share` is drawn; its settings and log
    are in `folder`. Raises ServerFailed."""
    served = Served(f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}", folder / "audit")
    config = folder / "gateway.toml"
    config.write_text(
        CONFIG.format(
            folder=json.dumps(str(served.audit)),
            share=share,
            customers=CUSTOMERS,
            collection=json.dumps(documents.name),
            documents=json.dumps(str(documents)),
        )
    )
    ports = [part.partition(":")[2] for part in (served.target, served.admin)]
    command = [sys.executable, "-m", "gateway", "serve", "--config", str(config), "--bundle", str(bundle)]
    process = Process([*command, "--port", ports[0], "--admin-port", ports[1]])
    try:
        _until_ready(process, served.admin)
        yield served
    finally:
        process.stop()


def _until_ready(process: Process, admin: str) -> None:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        process.check()
        try:
            with DIRECT.open(f"http://{admin}/readyz", timeout=1):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.1)
    raise ServerFailed(f"the gateway was not ready within {PATIENCE:g} s: {process.last_words()}")


def harvested(served: Served, bundle: Path, known: Sequence[Path], out: Path) -> None:
    """`gateway harvest`, with the fallbacks that were not drawn as well."""
    time.sleep(SETTLED)
    assert (served.audit / CASES).exists()
    left_out = [part for file in known for part in ("--not-in", str(file))]
    given = (*("--folder", served.audit, "--tenant", CUSTOMERS), *("--bundle", bundle, "--out", out))
    gateway("harvest", *given, *left_out, "--unjudged")


@dataclass(frozen=True, slots=True)
class Review:
    """What a reviewer saw: how many proposals, by what they rest on, and how many of them were right."""

    proposals: Counter[str]
    right: Counter[str]

    def numbers(self) -> dict[str, Any]:
        total = sum(self.proposals.values())
        return {
            "proposals": total,
            "right": sum(self.right.values()),
            "by_source": {name: [self.right[name], count] for name, count in self.proposals.most_common()},
        }


def review(file: Path, truth: dict[str, Asked], reviewer: str) -> Review:
    """Fill in each `review` of the candidates in `file`, as `reviewer` would who knows what is right. `truth` is by
    audit id."""
    proposals: Counter[str] = Counter()
    right: Counter[str] = Counter()
    lines = []
    for content in file.read_text(encoding="utf-8").splitlines():
        found = json.loads(content)
        asked, proposed = truth[found["evidence"]["id"]], found["proposed"]
        is_right = proposed["no_answer"] if not asked.category else proposed["document"] == asked.document
        proposals[found["source"]] += 1
        right[found["source"]] += is_right
        found["review"] = _word(asked, is_right, reviewer)
        lines.append(json.dumps(found, ensure_ascii=False) + "\n")
    file.write_text("".join(lines), encoding="utf-8")
    return Review(proposals, right)


def _word(asked: Asked, is_right: bool, reviewer: str) -> str | dict[str, Any]:
    if is_right or reviewer == "accept":
        return "accept"
    if reviewer == "reject":
        return "reject"
    return {"label": asked.category, "document": asked.document} if asked.category else {"no_answer": True}


def figures(questions: Sequence[Asked], answers: Sequence[Answer]) -> dict[str, dict[str, Any]]:
    """{group: shares of its questions}, and "all"."""
    found = {}
    for group in (*dict.fromkeys(one.group for one in questions), "all"):
        pairs = [pair for pair in zip(questions, answers, strict=True) if group in (pair[0].group, "all")]
        found[group] = _shares(pairs)
    return found


def _shares(pairs: Sequence[tuple[Asked, Answer]]) -> dict[str, Any]:
    right = Counter(answer.route.value for one, answer in pairs if one.is_right(answer))
    routes = Counter(answer.route.value for _, answer in pairs)
    total, model = len(pairs), routes[Route.MODEL.value]
    answered = total - routes[Route.ABSTAIN.value]
    wrong = model - right[Route.MODEL.value]
    return {
        "questions": total,
        "routes": {route: round(count / total, 4) for route, count in sorted(routes.items())},
        "right": round(sum(right.values()) / total, 4),
        "wrong": round((answered - sum(right.values()) + right[Route.ABSTAIN.value]) / total, 4),
        "right_by_route": {route: round(right[route] / count, 4) for route, count in sorted(routes.items())},
        "model_answers": model,
        "model_wrong": wrong,
        "model_wrong_at_most": round(upper(wrong, model, LEVEL), 4) if model else None,
    }
