"""The one place that reads the settings, from a file, the environment and flags."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_origin

from pydantic import BaseModel, Field, ValidationError

from gateway.config.answering import AdmissionSection, CascadeSection
from gateway.config.jwt import JwtSection
from gateway.config.knowledge import KnowledgeSection
from gateway.config.model import ModelSection
from gateway.config.observing import LogSection, TraceSection
from gateway.config.section import Section
from gateway.config.server import ServerSection
from gateway.config.transport import AccessSection, TlsSection
from gateway.config.trust import AuditSection, DriftSection
from gateway.errors import ConfigInvalid

PREFIX = "GATEWAY_"
FILE_VARIABLE = "GATEWAY_CONFIG"


class Config(Section):
    """Everything that can be set, checked and frozen."""

    server: ServerSection = ServerSection()
    tls: TlsSection = TlsSection()
    access: AccessSection = AccessSection()
    jwt: JwtSection = JwtSection()
    # Made when they are read: what is the default depends on the folder then.
    model: ModelSection = Field(default_factory=ModelSection)
    knowledge: KnowledgeSection = Field(default_factory=KnowledgeSection)
    cascade: CascadeSection = CascadeSection()
    admission: AdmissionSection = AdmissionSection()
    audit: AuditSection = AuditSection()
    drift: DriftSection = DriftSection()
    log: LogSection = LogSection()
    trace: TraceSection = TraceSection()

    @property
    def wants_credentials(self) -> bool:
        """Whether nobody calls without them."""
        return bool(self.access.keys or self.jwt.jwks)


def load(
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    flags: Mapping[str, object] | None = None,
) -> Config:
    """Defaults < TOML `file` < `environment` (GATEWAY_<SECTION>__<KEY>) < `flags` ("section.key" -> value, None unset).

    Without `file`, the one that GATEWAY_CONFIG names is read, if any. Raises ConfigInvalid.
    """
    return traced(file, environment, flags)[0]


def traced(
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    flags: Mapping[str, object] | None = None,
) -> tuple[Config, dict[tuple[str, ...], str]]:
    """As `load`, and where each setting that is not a default comes from, by its path."""
    environment = environment or {}
    if file is None and environment.get(FILE_VARIABLE):
        file = Path(environment[FILE_VARIABLE])
    settings: dict[tuple[str, ...], tuple[object, str]] = {}
    for found in (_from_file(file), _from_environment(environment), _from_flags(flags or {})):
        for path, value, origin in found:
            _check_known(path, value, origin)
            # A whole table set later replaces what was set in it before.
            settings = {known: setting for known, setting in settings.items() if known[: len(path)] != path}
            settings[path] = (value, origin)
    origins = {path: origin for path, (_, origin) in settings.items()}
    try:
        return Config.model_validate(_tree(settings)), origins
    except ValidationError as error:
        raise _explained(error, origins) from None


def _tree(settings: Mapping[tuple[str, ...], tuple[object, str]]) -> dict[str, Any]:
    """Nested tables of dotted paths. Raises ConfigInvalid where a path leads through something that is no table."""
    tree: dict[str, Any] = {}
    for path, (value, origin) in settings.items():
        branch = tree
        for depth, part in enumerate(path[:-1], 1):
            branch = branch.setdefault(part, {})
            if not isinstance(branch, dict):
                _, before = settings[path[:depth]]
                raise ConfigInvalid(
                    f"{'.'.join(path[:depth])} = {branch!r} (from {before}): must be a table, in which {origin} "
                    f"sets {path[depth]}"
                )
        branch[path[-1]] = dict(value) if isinstance(value, dict) else value
    return tree


def _from_file(file: Path | None) -> Iterator[tuple[tuple[str, ...], object, str]]:
    if file is None:
        return
    try:
        tree = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigInvalid(f"{file}: cannot be read ({error.strerror}); name another file with --config") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigInvalid(f"{file}: is not TOML: {error}") from None
    yield from _leaves(tree, (), str(file))


def _leaves(
    tree: Mapping[str, object], path: tuple[str, ...], origin: str
) -> Iterator[tuple[tuple[str, ...], object, str]]:
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, (*path, key), origin)
        else:
            yield (*path, key), value, origin


def _from_environment(environment: Mapping[str, str]) -> Iterator[tuple[tuple[str, ...], object, str]]:
    for name, value in sorted(environment.items()):
        # Only names with a double underscore are ours: for a Service called "gateway-server" Kubernetes sets
        # GATEWAY_SERVER_PORT=tcp://... in every pod of the namespace.
        if name.startswith(PREFIX) and "__" in name:
            yield tuple(name.removeprefix(PREFIX).lower().split("__")), value, f"environment variable {name}"


def _from_flags(flags: Mapping[str, object]) -> Iterator[tuple[tuple[str, ...], object, str]]:
    for name, value in flags.items():
        if value is not None:
            key = name.rpartition(".")[2]
            yield tuple(name.split(".")), value, f"flag --{key.removeprefix('default_').replace('_', '-')}"


def _check_known(path: tuple[str, ...], value: object, origin: str) -> None:
    """Raise ConfigInvalid, with the nearest name, for a section or key that does not exist."""
    sections = {name: field.annotation for name, field in Config.model_fields.items()}
    section = sections.get(path[0])
    if section is None:
        raise ConfigInvalid(f"{path[0]}: no such section (from {origin}); {_nearest(path[0], sections)}")
    assert isinstance(section, type)
    assert issubclass(section, Section)
    keys = section.model_fields
    if len(path) == 1:
        if not isinstance(value, dict):
            raise ConfigInvalid(f"{path[0]} = {value!r} (from {origin}): is a section, not a key")
        return
    if path[1] not in keys:
        raise ConfigInvalid(f"{path[0]}.{path[1]}: no such key (from {origin}); {_nearest(path[1], keys)}")
    if len(path) > 2 and get_origin(keys[path[1]].annotation) is not dict:
        raise ConfigInvalid(f"{'.'.join(path)}: {path[0]}.{path[1]} holds no keys (from {origin})")


def _nearest(name: str, known: Mapping[str, object]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"


def _explained(error: ValidationError, origins: Mapping[tuple[str, ...], str]) -> ConfigInvalid:
    """The first thing wrong, as: key = value (from origin): what is wrong with it."""
    first = error.errors(include_url=False)[0]
    path = tuple(str(part) for part in first["loc"])
    if path[-1:] == ("[key]",):
        path = path[:-1]
    origin = origins.get(path) or "; ".join(sorted({o for p, o in origins.items() if p[: len(path)] == path}))
    problem = first["msg"].removeprefix("Value error, ")
    shown = "" if isinstance(first["input"], dict | BaseModel) else f" = {first['input']!r}"
    return ConfigInvalid(f"{'.'.join(path)}{shown} (from {origin or 'the defaults'}): {problem}")
