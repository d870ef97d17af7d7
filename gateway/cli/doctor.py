"""`gateway doctor`: what would keep this machine from serving well, and what to do about it. Changes nothing."""

from __future__ import annotations

import json
import logging
import os
import platform
import resource
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from gateway.cli import doctor_callers
from gateway.cli.checks import Check, Level
from gateway.config import AuditSection, Config, Device, Fallback, ModelSection, Uncertified, load
from gateway.errors import DeviceUnavailable, DocumentInvalid, GatewayError

GRPC_SET = ("grpcio", "grpcio-health-checking", "grpcio-reflection", "grpcio-status")
PACKAGES = (
    "cascade-gateway",
    "protobuf",
    "numpy",
    "tokenizers",
    "hnswlib",
    "faiss-cpu",
    "uvloop",
    "pydantic",
    "aiohttp",
)
FEW_FILES = 2000 + 100
"""The server accepts 2,000 connections, each a file descriptor."""


@click.command()
@click.option("--config", "file", type=click.Path(path_type=Path), help="A TOML file of settings.")
@click.option("--bundle", "bundle_folder", help="Folder of the model bundle.  [models/banking/1]")
@click.option("--device", type=click.Choice([device.value for device in Device]), help="Where the model runs.  [auto]")
@click.option("--json", "is_json", is_flag=True, help="Print the checks as JSON.")
def doctor(file: Path | None, bundle_folder: str | None, device: str | None, is_json: bool) -> None:
    """Check this machine and its files before serving. Exit code 1 if a check fails."""
    config = load(file, os.environ, {"model.bundle": bundle_folder, "model.device": device})
    checks = list(examine(config))
    if is_json:
        click.echo(json.dumps([asdict(check) for check in checks], indent=2))
    else:
        Console().print(_table(checks))
    if any(check.level is Level.FAIL for check in checks):
        sys.exit(1)


def examine(config: Config) -> Iterator[Check]:
    """All checks, the cheap ones first."""
    yield python(sys.version_info[:2])
    versions = {name: installed(name) for name in (*GRPC_SET, *PACKAGES, "onnxruntime", "onnxruntime-gpu")}
    for name in PACKAGES:
        found = versions[name]
        level = Level.OK if found else Level.FAIL
        yield Check(name, level, found or "not installed", "" if found else "pip install 'cascade-gateway[cpu]'")
    yield grpc_set({name: versions[name] for name in GRPC_SET})
    yield runtimes(versions["onnxruntime"], versions["onnxruntime-gpu"])
    yield guarded("bundle", lambda: bundle(config.model))
    yield guarded("standing", lambda: standing(config))
    yield guarded("8-bit products", products)
    yield guarded("session", lambda: session(config.model))
    yield from collections(config)
    yield audit(config.audit, config.server.workers)
    yield guarded("exposure", lambda: doctor_callers.exposure(config))
    if config.tls.is_on:
        yield guarded("tls", lambda: doctor_callers.tls(config.tls))
    if config.wants_credentials:
        yield guarded("callers", lambda: doctor_callers.callers(config))
    yield port(config.server.host, config.server.port, "port")
    yield port(config.server.admin_host, config.server.admin_port, "admin_port")
    yield files(resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def installed(name: str) -> str:
    """A distribution's version, or nothing."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def python(found: tuple[int, int]) -> Check:
    if found >= (3, 11):
        return Check("python", Level.OK, platform.python_version())
    return Check("python", Level.FAIL, platform.python_version(), "use Python 3.11 or newer")


def grpc_set(versions: dict[str, str]) -> Check:
    """The companions refuse to import beside an older grpcio, and some minors of grpcio have faults that matter."""
    fix = "pip install " + " ".join(f"'{name}~=1.80.1'" for name in GRPC_SET)
    shown = ", ".join(f"{name} {found or 'missing'}" for name, found in versions.items())
    minors = {tuple(map(int, found.split(".")[:2])) for found in versions.values() if found}
    if len(minors) != 1 or not all(versions.values()):
        return Check("grpcio set", Level.FAIL, shown, fix)
    minor = minors.pop()
    if minor >= (1, 84):
        return Check("grpcio set", Level.WARN, f"{shown}: 25 - 30 % slower since 1.84", fix)
    if minor >= (1, 81):
        return Check("grpcio set", Level.WARN, f"{shown}: known aio faults since 1.81", fix)
    if minor < (1, 80):
        return Check("grpcio set", Level.WARN, f"{shown}: older than what this was tested with", fix)
    return Check("grpcio set", Level.OK, versions["grpcio"])


def runtimes(cpu: str, gpu: str) -> Check:
    if cpu and gpu:
        return Check(
            "onnxruntime",
            Level.FAIL,
            f"onnxruntime {cpu} and onnxruntime-gpu {gpu} overwrite each other's files",
            "pip uninstall -y onnxruntime onnxruntime-gpu, then install one of them",
        )
    if not (cpu or gpu):
        return Check("onnxruntime", Level.FAIL, "not installed", "pip install 'cascade-gateway[cpu]', or [gpu]")
    return Check("onnxruntime", Level.OK, cpu or f"{gpu} (gpu)")


def guarded(name: str, look: Callable[[], Check]) -> Check:
    """A check that calls into an engine: whatever goes wrong there is its finding."""
    try:
        return look()
    except GatewayError as error:
        return Check(name, Level.FAIL, str(error))
    except Exception as error:  # noqa: BLE001  # a doctor that dies of the disease names nothing
        return Check(name, Level.FAIL, f"{type(error).__name__}: {error}", "install the package again")


def bundle(model: ModelSection) -> Check:
    """Every file of the bundle against its hash, and its certificate against them."""
    from gateway.model.versions import load as load_bundle

    if problem := load_bundle(model.bundle, model.trusted_keys).uncertified:
        if model.uncertified is Uncertified.SERVE:
            return Check("bundle", Level.WARN, problem, "it is served without a promise until then")
        return Check("bundle", Level.FAIL, problem, 'or set model.uncertified = "serve", which promises nothing')
    signed = ", signed" if model.trusted_keys else ""
    return Check("bundle", Level.OK, f"{model.bundle}: complete{signed}, hashes and certificate match")


def standing(config: Config) -> Check:
    """Whether the certificate is stale before anything is served: see `doubts`."""
    from gateway import doubts
    from gateway.model.versions import load as load_bundle

    kept = doubts.of(config, load_bundle(config.model.bundle, config.model.trusted_keys).manifest_sha256)
    if kept is None:
        return Check("standing", Level.OK, "not kept: a start trusts the certificate (drift.marks)")
    if found := kept.kept():
        more = f" and {len(found) - 1} more" if found[1:] else ""
        said = f"the certificate is stale{f' for {found[0].part}' if found[0].part else ''}: {found[0].reason}{more}"
        return Check("standing", Level.WARN, said, "gateway drift reset, if it is of drift, or a new certificate")
    return Check("standing", Level.OK, "nothing has marked the certificate stale")


def products() -> Check:
    """Whether this CPU adds 8-bit products without cutting anything off."""
    from gateway.model import arithmetic

    if arithmetic.products_are_exact():
        return Check("8-bit products", Level.OK, "exact")
    return Check("8-bit products", Level.WARN, arithmetic.WARNING, arithmetic.FIX)


def session(model: ModelSection) -> Check:
    """The session that serving would open: what it really runs on, and what gave way before it worked."""
    from gateway import assembly  # without onnxruntime this fails, and the rest should still run
    from gateway.model import session as sessions
    from gateway.model.packing import Tokenization
    from gateway.model.versions import load as load_bundle

    found = load_bundle(model.bundle, model.trusted_keys)
    tokenization = Tokenization(found.path("tokenizer.json"), found.manifest.max_tokens)
    with _logged(sessions.log) as warnings:
        opened = sessions.open_session(
            found, tokenization, model.device.value, model.threads or 1, assembly.precision_of(model)
        )
    shown = f"{opened.precision} on {opened.provider} for device {model.device.value}"
    if opened.device != "cpu" and model.fallback is Fallback.CPU:
        try:
            spare = sessions.open_session(found, tokenization, "cpu", model.threads or 1)
        except DeviceUnavailable as error:
            fix = "make a bundle with an int8 or fp32 graph, or set model.fallback = 'none'"
            return Check("session", Level.WARN, f"{shown}; nothing to fall back to: {error}", fix)
        shown += f", if that is lost {spare.precision} on {spare.provider}"
    if not warnings:
        return Check("session", Level.OK, f"{shown}, golden answers match")
    fix = f"mend that, or set model.device = '{opened.device}' and model.precision = '{opened.precision}'"
    return Check("session", Level.WARN, f"{shown}; " + "; ".join(warnings), fix)


@contextmanager
def _logged(log: logging.Logger) -> Iterator[list[str]]:
    """The messages of its warnings meanwhile, which are not shown."""
    messages: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    handler, log.propagate = Keep(), False
    log.addHandler(handler)
    try:
        yield messages
    finally:
        log.removeHandler(handler)
        log.propagate = True


def collections(config: Config) -> Iterator[Check]:
    """Those that would be served, which for the default one depends on the bundle."""
    wanted = config.knowledge.collections
    if config.knowledge.is_default:
        with suppress(Exception):  # a broken bundle or collection is a finding of its own
            from gateway import assembly
            from gateway.model.versions import load as load_bundle

            with _logged(assembly.log):
                wanted = assembly.served(config.knowledge, load_bundle(config.model.bundle, config.model.trusted_keys))
    for name, folder in wanted.items():
        yield guarded(f"collection {name}", lambda name=name, folder=folder: collection(name, folder))  # type: ignore[misc]
    if not wanted:
        yield Check("collection", Level.OK, "none: only labels with a text of their own are answered")


def collection(name: str, folder: Path) -> Check:
    """Every article, parsed."""
    from gateway.knowledge.documents import read_folder

    try:
        count = len(read_folder(folder))
    except DocumentInvalid as error:
        fix = f"mend the article, or set knowledge.collections.{name}; relative paths start at the working directory"
        return Check(f"collection {name}", Level.FAIL, str(error), fix)
    return Check(f"collection {name}", Level.OK, f"{folder}: {count} documents")


def audit(section: AuditSection, workers: int) -> Check:
    """Whether what the audit log may come to has room."""
    if section.folder is None:
        return Check("audit log", Level.OK, "none is kept")
    there = next(one for one in (section.folder, *section.folder.absolute().parents) if one.exists())
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        return Check("audit log", Level.FAIL, f"{there}: cannot be written", "set audit.folder to a folder that can")
    free, most = shutil.disk_usage(there).free >> 20, section.max_mb * workers
    if free < most:
        fix = "lower audit.max_mb, which is of each worker, or make room: records are dropped where the disk is full"
        return Check("audit log", Level.WARN, f"{section.folder}: may take {most:,} MB, and {free:,} are free", fix)
    return Check("audit log", Level.OK, f"{section.folder}: at most {most:,} MB")


def port(host: str, number: int, key: str) -> Check:
    """Whether the server could listen there now. Without SO_REUSEPORT, as the server does."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, number))
        except OSError as error:
            flag = key.replace("_", "-")
            return Check(
                key, Level.FAIL, f"{host}:{number}: {error.strerror}", f"stop what listens there, or --{flag} 0"
            )
    return Check(key, Level.OK, f"{host}:{number} is free")


def files(limit: int) -> Check:
    if 0 <= limit < FEW_FILES:
        return Check(
            "open files", Level.WARN, f"limit {limit}", f"ulimit -n {2 * FEW_FILES}: each connection takes one"
        )
    return Check("open files", Level.OK, f"limit {limit}")


def _table(checks: list[Check]) -> Table:
    styles = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "red"}
    table = Table(box=None, padding=(0, 1), show_header=False)
    for check in checks:
        style = styles[check.level]
        found = check.found if not check.fix else f"{check.found}\n→ {check.fix}"
        table.add_row(f"[{style}]{check.level.value}[/]", check.name, found)
    return table
