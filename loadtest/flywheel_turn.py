"""One turn of the flywheel from end to end, by the same commands and calls that an operator has."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from gateway.model import bundle as bundles
from gateway.model.certificate import Certificate
from loadtest import flywheel_world as worlds
from loadtest.flywheel import AUDITORS, CUSTOMERS, Review, Served, figures, gateway, harvested, review, serving
from loadtest.flywheel_world import Asked, World

NEXT = "2"
"""The version that the turn makes."""
SHADOW_SECONDS = 10
REFUSED = 4
"""Exit code of a promotion that a gate refuses."""


@dataclass(slots=True)
class Turn:
    """`world` by the bundle in `parent`, everything kept in `folder`; `seconds` of each step."""

    world: World
    parent: Path
    folder: Path
    drawn: float
    reviewer: str
    test: Sequence[Asked] = ()
    seconds: dict[str, float] = field(default_factory=dict)
    truth: dict[str, Asked] = field(default_factory=dict)
    """What arrived, by audit id."""

    @property
    def models(self) -> Path:
        return self.folder / "models" / self.world.recipe.bundle.name

    @property
    def documents(self) -> Path:
        return self.world.recipe.locate(self.world.recipe.knowledge.collection).resolve()

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        click.echo(f"{name} ...", err=True)
        started = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - started, 1)

    def run(self) -> dict[str, Any]:
        """All steps. Raises flywheel.StepFailed, processes.ServerFailed, client.CallFailed."""
        first = self._first()
        with serving(self.models, self.documents, self.folder, self.drawn) as served:
            before = self._asked(served, "before")
            told = self._traffic(served)
            found = self._harvest(served, first) | told
            self._train(first)
            promotion = self._promote(served)
            after = self._asked(served, "after")
            back = self._back(served, before) if promotion["recorded"] else None
        return {
            "frozen": len(self.world.frozen),
            "traffic": len(self.world.traffic),
            "intents": len(self.world.intents),
            **found,
            "before": before | _certificate(self.models / first),
            "after": after | _certificate(self.models / NEXT),
            "promotion": promotion,
            "back": back,
            "seconds": self.seconds,
        }

    def _first(self) -> str:
        """The version of the parent, which is promoted in a folder of its own."""
        version = bundles.load(self.parent).manifest.version
        shutil.copytree(self.parent, self.models / version)
        gateway("models", "promote", self.models, version)
        return version

    def _asked(self, served: Served, when: str) -> dict[str, Any]:
        with self.step(f"frozen questions, {when}"):
            answers = served.ask(self.world.frozen, AUDITORS)
            found = {"bundle": answers[0].bundle, "groups": figures(self.world.frozen, answers)}
            if self.test:
                found["test"] = figures(self.test, served.ask(self.test, AUDITORS))
        return found

    def _traffic(self, served: Served) -> dict[str, Any]:
        with self.step("traffic and verdicts"):
            answers = served.ask(self.world.traffic, CUSTOMERS)
            judged = served.judge(self.world.traffic, answers)
        self.truth |= {one.audit_id: asked for asked, one in zip(self.world.traffic, answers, strict=True)}
        drift = served.status().get("drift") or {}
        alarms = [one["questions"] for one in drift.get("alarms", ())]
        return {"as_it_arrived": figures(self.world.traffic, answers), "judged": judged, "drift_alarms": sorted(alarms)}

    def _harvest(self, served: Served, first: str) -> dict[str, Any]:
        candidates, questions = self.folder / "candidates.jsonl", self.folder / "harvest.csv"
        frozen, known = self.folder / "frozen.csv", self.folder / "known.csv"
        worlds.write(frozen, self.world.frozen)
        worlds.write(known, self.world.known)
        with self.step("harvest and review"):
            left_out = [frozen, known]
            if self.test:
                worlds.write(self.folder / "test.csv", self.test)
                left_out.append(self.folder / "test.csv")
            harvested(served, self.models / first, left_out, candidates)
            seen: Review = review(candidates, self.truth, self.reviewer)
            told = gateway(
                "harvest", "--reviewed", candidates, "--csv", questions, "--outliers", self.folder / "outliers.jsonl"
            )
        return {"review": seen.numbers(), "harvested": told.strip()}

    def _train(self, first: str) -> None:
        with self.step("forge run --parent"):
            outliers = self.folder / "outliers.jsonl"
            more = ("--harvest-outliers", outliers) if outliers.stat().st_size else ()
            gateway(
                *("forge", "run", self.world.recipe.source, "--parent", self.models / first, "--version", NEXT),
                *("--harvest", self.folder / "harvest.csv", *more),
                *("--work", self.folder / "work", "--out", self.models / NEXT),
            )

    def _promote(self, served: Served) -> dict[str, Any]:
        """After the frozen questions, and a shadow that sees all traffic for some seconds."""
        arriving = threading.Event()
        customers = threading.Thread(target=self._keep_asking, args=(served, arriving))
        with self.step("models promote, with frozen questions and a shadow"):
            customers.start()
            try:
                said = gateway(
                    *("models", "promote", self.models, NEXT, "--questions", self.folder / "frozen.csv"),
                    *("--knowledge", self.documents, "--server", served.admin, "--timeout", "600", "--json"),
                    *("--shadow", "1.0", "--shadow-seconds", str(SHADOW_SECONDS), "--why", "flywheel"),
                    allowed=(0, REFUSED),
                )
            finally:
                arriving.set()
                customers.join()
        found = json.loads(said[: said.rindex("}") + 1])
        return {"recorded": found["recorded"], "gates": found["gates"], "compared": self._compared()}

    def _keep_asking(self, served: Served, ended: threading.Event) -> None:
        while not ended.is_set():
            for one in self.world.traffic:
                if ended.is_set():
                    return
                served.ask([one], AUDITORS)

    def _compared(self) -> dict[str, Any]:
        versions = sorted(path for path in self.models.iterdir() if path.is_dir() and path.name != NEXT)
        said = gateway(
            *("models", "diff", versions[0], self.models / NEXT, "--questions", self.folder / "frozen.csv"),
            *("--knowledge", self.documents, "--json"),
        )
        found: dict[str, Any] = json.loads(said)["questions"]
        return found

    def _back(self, served: Served, before: dict[str, Any]) -> dict[str, Any]:
        with self.step("models rollback, and the frozen questions again"):
            gateway("models", "rollback", self.models, "--server", served.admin, "--timeout", "600")
            answers = served.ask(self.world.frozen, AUDITORS)
        again = figures(self.world.frozen, answers)
        return {"bundle": answers[0].bundle, "is_as_before": again == before["groups"]}


def _certificate(folder: Path) -> dict[str, Any]:
    """Of the 8-bit graph's confidence that hears the search, by which the cascade answers."""
    loaded = bundles.load(folder)
    given: Certificate | None = loaded.certificate
    assert given is not None
    confidence = given.variants["int8"].confidences
    one = confidence.get("informed") or confidence["alone"]
    at = one.operating
    return {
        "labels": len(loaded.manifest.labels),
        "certificate": {
            "status": str(one.status),
            "alpha": given.risk,
            "threshold": at.value,
            "upper_bound": round(at.upper_bound, 4),
            "questions": given.questions,
            "outliers": given.outliers,
            "accepted": at.accepted,
            "wrong": at.wrong,
            "certified_up_to_oos_share": round(at.certified_up_to_oos_share, 4),
        },
    }
