"""`gateway models`: the versions of a bundle side by side, which of them serves, and how that is changed."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click
from rich.console import Console

from gateway.cli import model_tables, pairing, rollout, signing
from gateway.cli.evaluate import FILE_WIDTH
from gateway.cli.main import Failure, NotReached, Refused
from gateway.errors import BundleInvalid, ConfigInvalid, Unavailable
from gateway.forge.paired import Comparison
from gateway.model import bundle as bundles
from gateway.model import versions
from gateway.model.bundle import Bundle
from gateway.model.versions import Event, Gate, Registry
from gateway.registry import differences, facts, gates, mlflow, promotion

MARGIN = 0.01
FORCE = "--force promotes it all the same, which is recorded"
ROOT = click.option(
    "--models", "root", type=click.Path(path_type=Path), default="models", show_default=True, help="Folder of bundles."
)
JSON = click.option("--json", "is_json", is_flag=True, help="Print JSON.")
FOLDER = click.Path(path_type=Path)
Command = TypeVar("Command", bound=Callable[..., Any])


def asking(command: Command) -> Command:
    """The options of a comparison on questions."""
    for option in (
        click.option("--knowledge", type=FOLDER, help="Folder of documents.  [the recipe's, if it is there]"),
        click.option("--questions", type=FOLDER, help="CSV with text,category[,document]: asked of both, paired."),
    ):
        command = option(command)
    return command


def deciding(command: Command) -> Command:
    """The options of whatever changes what serves."""
    for option in (
        JSON,
        click.option("--timeout", default=120.0, show_default=True, help="Seconds to wait for --server."),
        click.option("--server", metavar="HOST:PORT", help="Admin port of a running gateway, which is to swap too."),
        click.option("--why", default="", help="The reason, for the history."),
        ROOT,
    ):
        command = option(command)
    return command


@click.group()
def models() -> None:
    """Versions of bundles: what they are, how they differ, and which one serves."""


models.add_command(signing.sign)
models.add_command(signing.verify)


@models.command(name="list")
@click.argument("name", required=False)
@ROOT
@JSON
def list_(name: str | None, root: Path, is_json: bool) -> None:
    """Every version of every bundle, or of NAME, with its lineage, metrics and certificate."""
    folders = [_folder(root, name)] if name else [root / one for one in facts.bundle_names(root)]
    found = [version for folder in folders for version in facts.listed(folder)]
    if not found:
        raise ConfigInvalid(f"no bundle in {folders[0] if name else root}: name another folder with --models")
    if is_json:
        click.echo(json.dumps([dataclasses.asdict(one) | {"folder": str(one.folder)} for one in found], indent=1))
    else:
        model_tables.show_versions(found, _console())


@models.command()
@click.argument("one")
@click.argument("other")
@asking
@ROOT
@JSON
def diff(one: str, other: str, questions: Path | None, knowledge: Path | None, root: Path, is_json: bool) -> None:
    """From ONE to OTHER (NAME/VERSION, NAME for the promoted one, or a folder): labels, data, recipe, metrics,
    certificates. With --questions also who is right where, with paired intervals, and which intents are forgotten."""
    before, after = (bundles.load(versions.serving(_folder(root, name))) for name in (one, other))
    found = differences.between(before, after)
    compared = pairing.compared(before, after, questions, knowledge) if questions else None
    if is_json:
        asked = dataclasses.asdict(compared) | {"forgotten": _names(compared)} if compared else None
        click.echo(json.dumps({"one": one, "other": other, **found, "questions": asked}, indent=1))
        return
    model_tables.show_differences(one, other, found, _console())
    if compared:
        model_tables.show_comparison(one, other, compared, _console())


@models.command()
@click.argument("name")
@click.argument("version", required=False)
@asking
@click.option("--against", help="What it must be no worse than: NAME/VERSION or a folder.  [the promoted one]")
@click.option(
    "--margin", type=click.FloatRange(0, 1), default=MARGIN, show_default=True, help="Share that it may be worse by."
)
@click.option("--uncertified", is_flag=True, help="It needs no certificate that holds.")
@click.option("--force", is_flag=True, help="Whatever the gates say, if only it loads; recorded.")
@click.option("--shadow", type=click.FloatRange(0, 1, min_open=True), metavar="SHARE", help=rollout.SHADOW)
@click.option("--shadow-seconds", default=60.0, show_default=True, help="For how long.")
@deciding
def promote(
    name: str,
    version: str | None,
    questions: Path | None,
    knowledge: Path | None,
    against: str | None,
    margin: float,
    uncertified: bool,
    force: bool,
    shadow: float | None,
    shadow_seconds: float,
    root: Path,
    why: str,
    server: str | None,
    timeout: float,
    is_json: bool,
) -> None:
    """Let VERSION of NAME (or the bundle in the folder NAME) be what `--bundle` means for a folder of versions.

    It has to load, answer its golden questions, have a certificate, and lack no label of the promoted one; with
    --questions, frozen ones, it must be shown to be no worse, with no intent forgotten. Else exit code 4.
    """
    if shadow is not None and not server:
        raise click.UsageError("--shadow is of a running gateway: name it with --server")
    chosen = _version(root, name, version)
    folder = chosen.parent
    with _alone(folder):
        registry = versions.read(folder)
        current = against or (str(folder / registry.current) if registry else None)
        bundle, found = _examined(chosen, current, root, questions, knowledge, margin, uncertified)
        if shadow is not None and server and bundle and not gates.failed(found):
            found.append(rollout.shadowed(server, chosen, shadow, shadow_seconds, timeout))
        if bundle is None or (gates.failed(found) and not force):
            _refuse(chosen, found, is_json, "" if bundle is None else FORCE)
        event = promotion.event(
            "promote",
            chosen.name,
            bundle.manifest_sha256,
            why=why,
            server=server or "",
            forced=bool(gates.failed(found)),
            gates=found,
        )
        _decided(folder, event, registry, server, timeout, is_json)


@models.command()
@click.argument("name")
@deciding
def rollback(name: str, root: Path, why: str, server: str | None, timeout: float, is_json: bool) -> None:
    """Let the version of NAME serve that was promoted before the one that does."""
    folder = _folder(root, name)
    with _alone(folder):
        registry = versions.read(folder)
        before = registry.before() if registry else None
        if registry is None or before is None:
            raise Refused(f"{folder}: no other version was promoted before: promote one")
        versions.check(folder, before)
        bundle, loaded = gates.loads(folder / before.version)
        found = [loaded, gates.golden(bundle)] if bundle else [loaded]
        if gates.failed(found):
            _refuse(folder / before.version, found, is_json)
        event = promotion.event(
            "rollback", before.version, before.manifest_sha256, why=why, server=server or "", gates=found
        )
        _decided(folder, event, registry, server, timeout, is_json)


@models.command()
@click.argument("name")
@click.option("--mlflow", "uri", required=True, metavar="URI", help="Its tracking server: http://HOST:PORT.")
@click.option("--experiment", default="cascade-gateway", show_default=True, help="Made where there is none.")
@ROOT
def log(name: str, uri: str, experiment: str, root: Path) -> None:
    """Write what NAME (NAME/VERSION, or the promoted one) says of itself into MLflow, as a run.

    A token in MLFLOW_TRACKING_TOKEN goes with it. Files stay here.
    """
    bundle = bundles.load(versions.serving(_folder(root, name)))
    try:
        tracking = mlflow.Tracking(uri, os.environ.get("MLFLOW_TRACKING_TOKEN", ""))
    except ValueError as error:
        raise ConfigInvalid(f"--mlflow {error}") from None
    try:
        run_id = tracking.log(experiment, bundle.id, facts.of(bundle))
    except Unavailable as error:
        raise NotReached(str(error)) from None
    click.echo(f"{bundle.id} is run {run_id} of {experiment}")


def _examined(
    chosen: Path,
    current: str | None,
    root: Path,
    questions: Path | None,
    knowledge: Path | None,
    margin: float,
    uncertified: bool,
) -> tuple[Bundle | None, list[Gate]]:
    """The bundle, unless it does not load, and what came of every gate."""
    bundle, loaded = gates.loads(chosen)
    if bundle is None:
        return None, [loaded]
    found = [loaded, gates.golden(bundle), gates.certificate(bundle, uncertified)]
    compared = ("labels", "questions", "intents")
    if current is None:
        return bundle, found + gates.skipped("nothing is promoted yet; --against names what to compare with", *compared)
    try:
        serving = bundles.load(versions.serving(_folder(root, current)))
    except BundleInvalid as error:
        return bundle, [*found, Gate(name="labels", outcome="failed", detail=f"not to be compared with: {error}")]
    found.append(gates.labels(bundle, serving))
    if questions is None:
        return bundle, found + gates.skipped("no --questions", *compared[1:])
    return bundle, found + gates.compared(pairing.compared(serving, bundle, questions, knowledge), margin)


def _decided(
    folder: Path, event: Event, registry: Registry | None, server: str | None, timeout: float, is_json: bool
) -> None:
    """Swap, then record: what could not be swapped to is not what serves."""
    if server:
        rollout.swapped(server, folder / event.version, timeout)
    is_new = registry is None or (registry.current, registry.now.manifest_sha256) != (
        event.version,
        event.manifest_sha256,
    )
    if is_new:
        try:
            promotion.record(folder, event)
        except OSError as error:
            served = f"{server} serves {folder / event.version}, but it" if server else f"{folder / event.version}"
            raise Failure(f"{served} could not be recorded in {folder / versions.NAME}: {error}") from None
    before = registry.current if registry else None
    if is_json:
        click.echo(json.dumps({"recorded": is_new, "before": before, **event.model_dump(mode="json")}, indent=1))
        return
    model_tables.show_gates(event.gates, Console())
    if not is_new:
        click.echo(f"{folder / event.version} is what is promoted already")
        return
    forced = ", forced" if event.forced else ""
    click.echo(f"{folder / event.version} is promoted{f', in the place of {before}' if before else ''}{forced}")


def _refuse(chosen: Path, found: list[Gate], is_json: bool, remedy: str = "") -> NoReturn:
    if is_json:
        click.echo(json.dumps({"recorded": False, "gates": [one.model_dump() for one in found]}, indent=1))
    else:
        model_tables.show_gates(found, Console(stderr=True))
    reasons = "; ".join(f"{one.name}: {one.detail}" for one in gates.failed(found))
    raise Refused(f"{chosen} is not promoted. {reasons}{f'. {remedy}' if remedy else ''}")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """With its registry locked."""
    with ExitStack() as held:
        try:
            held.enter_context(promotion.locked(folder))
        except Unavailable as error:
            raise Refused(str(error)) from None
        except FileNotFoundError:
            raise ConfigInvalid(f"no such folder: {folder}; name a bundle below --models, or its folder") from None
        except OSError as error:
            raise Failure(
                f"{folder}: cannot be written ({error.strerror}), and what serves is recorded there"
            ) from None
        yield


def _console() -> Console:
    return Console(width=None if sys.stdout.isatty() else FILE_WIDTH)


def _names(compared: Comparison) -> list[str]:
    return [one.name for one in compared.forgotten]


def _folder(root: Path, name: str) -> Path:
    """NAME, NAME/VERSION or a folder. What is neither is named as it would be below --models."""
    is_elsewhere = Path(name).exists() and not (root / name).exists()
    return Path(os.path.abspath(name if is_elsewhere else root / name))  # noqa: PTH100  # links stay as they are called


def _version(root: Path, name: str, version: str | None) -> Path:
    """Whichever one is to be promoted. A folder that is not there is for its gate to name."""
    folder = _folder(root, name)
    if version is not None:
        folder = folder / version
    elif some := versions.names(folder):
        raise click.UsageError(f"{folder} holds versions {', '.join(some)}: say which, as VERSION")
    if not folder.parent.is_dir():
        raise ConfigInvalid(f"no such folder: {folder.parent}; name a bundle below --models, or its folder")
    return folder
