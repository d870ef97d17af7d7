"""The settings: their names, defaults and bounds, and the one place that reads them from a file and the environment."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from gateway.errors import ConfigInvalid
from gateway.types import Policy

PREFIX = "GATEWAY_"
FILE_VARIABLE = "GATEWAY_CONFIG"

LEAST_BATCH_TOKENS = 64

Port = Annotated[int, Field(ge=0, le=65535)]


class Device(StrEnum):
    """Where the model runs. AUTO takes an accelerator if its provider is really active; CUDA fails without it."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class Precision(StrEnum):
    """Which of the bundle's graphs runs. AUTO: 8 bit on a CPU, fp16 on an accelerator."""

    AUTO = "auto"
    INT8 = "int8"
    FP16 = "fp16"
    FP32 = "fp32"


class Fallback(StrEnum):
    """What answers where the accelerator is lost at run time. CPU: the bundle's CPU graph, as degraded service. NONE:
    nothing; the replica is then not ready, for others to take over."""

    CPU = "cpu"
    NONE = "none"


class Uncertified(StrEnum):
    """What becomes of a bundle whose certificate is missing, or was given for other files. REFUSE: it is not served.
    SERVE: it is, by the stricter thresholds that are there, and every answer says that nothing is promised."""

    REFUSE = "refuse"
    SERVE = "serve"


class DriftMode(StrEnum):
    """Whether questions are watched. ACT: on an alarm the certificate is stale, and the stricter thresholds take over.
    OBSERVE: alarms are told, and change no answer. OFF: nothing is compared."""

    ACT = "act"
    OBSERVE = "observe"
    OFF = "off"


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, use_attribute_docstrings=True)


class ServerSection(_Section):
    """The two ports, and what a request may ask of the process."""

    host: str = "127.0.0.1"
    """Anything but loopback shows an API without authentication to that network."""
    port: Port = 50051
    """gRPC. 0 takes any free port."""
    admin_port: Port = 9464
    """Metrics, health and status over HTTP. 0 takes any free port."""
    default_timeout_ms: Annotated[int, Field(ge=1)] = 200
    """For calls that state no deadline. A batch gets so much for each item, up to max_timeout_ms."""
    max_timeout_ms: Annotated[int, Field(ge=1)] = 10_000
    """Longer deadlines are cut to this. Raising it lets slow callers hold permits for longer."""
    drain_delay_seconds: Annotated[float, Field(ge=0, le=300)] = 0.0
    """How long to go on answering after health says NOT_SERVING. Behind a balancer: above its probe interval."""
    drain_seconds: Annotated[float, Field(gt=0, le=300)] = 25.0
    """How long requests in flight may take to finish. Above max_timeout_ms nothing is cut off."""
    max_in_flight: Annotated[int, Field(ge=1, le=100_000)] = 1024
    """Questions admitted at once; more are shed. Raising it trades refusals for waiting. Bounds the queue too."""
    max_question_chars: Annotated[int, Field(ge=1, le=100_000)] = 2000
    reflection: bool = True
    """Lets grpcurl and `buf curl` read the API from the server."""
    workers: Annotated[int, Field(ge=1, le=256)] = 1
    """Whole replicas on the port, each a process with a model, a queue and max_in_flight of its own. The kernel deals
    connections to them, not calls: a client with one connection is answered by one of them."""
    ready_workers: Annotated[int, Field(ge=0, le=256)] = 0
    """So many must be ready for /readyz to say so. 0: all."""
    worker_start_seconds: Annotated[float, Field(gt=0, le=3600)] = 120.0
    """A worker that takes longer to become ready is killed and started again."""
    worker_restarts: Annotated[int, Field(ge=0, le=1000)] = 5
    """Of one worker within the window; at one more, all are drained and the server ends with exit code 1."""
    worker_restart_window_seconds: Annotated[float, Field(gt=0, le=86_400)] = 900.0
    """Above worker_restarts times worker_start_seconds, or workers that never become ready are started for ever."""

    @model_validator(mode="after")
    def _default_fits(self) -> Self:
        if self.default_timeout_ms > self.max_timeout_ms:
            raise ValueError(
                f"default_timeout_ms is {self.default_timeout_ms} and max_timeout_ms only {self.max_timeout_ms}"
            )
        return self

    @model_validator(mode="after")
    def _no_more_are_awaited_than_there_are(self) -> Self:
        if self.ready_workers > self.workers:
            raise ValueError(f"ready_workers is {self.ready_workers} and there are only {self.workers} workers")
        return self


class ModelSection(_Section):
    """Which bundle runs, and where."""

    bundle: Path = Path("models/banking/1")
    """A folder with a manifest.json, or one of versions, of which the promoted one is meant (`gateway models`).
    Relative paths start at the working directory."""
    device: Device = Device.AUTO
    precision: Precision = Precision.AUTO
    threads: Annotated[int, Field(ge=0, le=256)] = 0
    """Of the session, within one operator. 0: one. A second thread has little to do in an operator of a small model,
    and takes its core from the event loop, which every other question goes through."""
    max_batch_tokens: Annotated[int, Field(ge=0, le=65_536)] = 0
    """Tokens of one forward pass. 0: the device's own, 192 on a CPU and 4096 on an accelerator. Raising it trades
    latency for throughput, on a CPU with little to gain."""
    fallback: Fallback = Fallback.CPU
    """Only an accelerator has one. CPU costs the memory of a second session and of a second set of the passages'
    embeddings (each precision finds by its own, as its thresholds were certified), and at the first start the time to
    make those on a CPU; they are kept for later starts. The log names what is lost and since when."""

    uncertified: Uncertified = Uncertified.REFUSE
    """SERVE is for the time until the bundle is certified again, and for those who want no promise."""

    @field_validator("max_batch_tokens")
    @classmethod
    def _a_batch_holds_a_question(cls, given: int) -> int:
        if 0 < given < LEAST_BATCH_TOKENS:
            raise ValueError(f"must be at least {LEAST_BATCH_TOKENS}, or 0 for the device's own")
        return given


class KnowledgeSection(_Section):
    """Which collections are served."""

    collections: dict[str, Path] = {"banking": Path("index/banking")}
    """Name -> folder of documents. Giving any replaces the default one. None ({}, an empty variable, --no-knowledge):
    nothing is searched, and only labels with a text of their own answer. The default one is served only with a bundle
    that has a label for one of its documents, so that nobody's bundle answers with our bank's articles by accident."""
    default_collection: str = ""
    """For requests that name none. Empty: the first of `collections`."""

    data: Path | None = None
    """Folder of stored collections, which are written by `Knowledge.Upsert` and kept; it is made if it is not there.
    None: nothing can be written."""
    keep_days: Annotated[float, Field(gt=0, le=36_500, allow_inf_nan=False)] = 30.0
    """How long replaced and deleted versions of stored documents are kept, for citations of them and for who watches.
    Lowering it frees room on disk for what is written next; `gateway knowledge compact` makes the file smaller."""
    tenant_watchers: Annotated[int, Field(ge=0, le=100_000)] = 16
    """Streams of `Knowledge.Watch` that one tenant may have open, of each replica. 0: none."""

    backfill_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Of the time, what embedding stored documents for another bundle may take while this one serves. Raising it makes
    `gateway swap` ready sooner, and questions slower until then."""
    probe_every: Annotated[int, Field(ge=0)] = 1000
    """One of so many searches is compared with a scan of everything, in a thread that gives way: the metrics tell how
    much of the ten nearest documents is found. 0: none."""
    language: str = "english"
    """What documents and questions are written in, for the search by words: a language that Snowball stems, or none."""

    @field_validator("collections", mode="before")
    @classmethod
    def _none_by_an_empty_variable(cls, given: object) -> object:
        return {} if given == "" else given

    @model_validator(mode="after")
    def _names_are_names(self) -> Self:
        for name in self.collections:
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", name):
                raise ValueError(f"collections.{name} is no name: 1 to 63 letters, digits, '.', '_' or '-'")
        return self

    @model_validator(mode="after")
    def _default_is_served(self) -> Self:
        if self.default_collection and self.default_collection not in self.collections:
            raise ValueError(
                f"default_collection is {self.default_collection!r}, which is none of {sorted(self.collections)}"
            )
        return self

    @property
    def is_default(self) -> bool:
        """Whether nobody said which collections to serve."""
        return "collections" not in self.model_fields_set

    @property
    def default(self) -> str:
        """The collection of requests that name none; empty where there is none."""
        return self.default_collection or next(iter(self.collections), "")


class CascadeSection(_Section):
    """How the tiers are combined."""

    default_policy: Policy = Policy.CASCADE
    """For requests that name none."""
    price_per_ms: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.001
    """What a millisecond of a search has to bring in P(right) for the policy `routing` to make it: by default, one more
    right answer in a thousand."""
    cached_answers: Annotated[int, Field(ge=0, le=10_000_000)] = 0
    """Answers kept for whoever asks the same, with the same rights, of the same knowledge; 0: none. Some kB each."""


class AdmissionSection(_Section):
    """Who is let in when more is asked than can be answered in time. server.max_in_flight is the last bound."""

    tenant_rate: Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)] = 0.0
    """Questions a second that one tenant may ask, of each replica, each document that it writes or deletes counted as
    one. 0: as many as it likes."""
    tenant_burst: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """Questions that a tenant may ask at once within tenant_rate. 0: those of two seconds."""
    tenant_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Of server.max_in_flight, what one tenant may hold while others ask."""
    shed: bool = True
    """Refuse questions that would wait for long, though not too long, to keep the queue short for all. Without it they
    are refused only for want of room or time."""
    target_wait_ms: Annotated[float, Field(gt=0, le=10_000, allow_inf_nan=False)] = 10.0
    """What a critical question may wait, or a tenth of its time if that is more, and never be shed; sheddable-plus half
    of that, sheddable a quarter. Where questions find a longer queue all through 100 ms, the shed level rises, and they
    are refused, the least critical first. Raising it trades refusals for waiting."""
    max_wait_share: Annotated[float, Field(gt=0, le=1)] = 0.25
    """Of its time, what a critical question may wait at all, whatever the level is; others in proportion. Raising it
    lets larger bursts in, and lets everyone wait for longer until the level has risen."""
    brownout_level: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Above this shed level, sheddable questions are answered by the model alone. Refusals begin at 0.25. 1: never."""

    @model_validator(mode="after")
    def _a_burst_is_of_a_rate(self) -> Self:
        if self.tenant_burst and not self.tenant_rate:
            raise ValueError(f"tenant_burst is {self.tenant_burst}, and without a tenant_rate nothing is limited")
        return self


class DriftSection(_Section):
    """Whether questions are still like those that the certificate was made with."""

    mode: DriftMode = DriftMode.ACT
    """What comes of comparing all questions with the bundle's reference, where it has one."""
    false_alarms: Annotated[float, Field(gt=0, le=1)] = 0.01
    """So many may be expected in 100,000 questions that are like the reference. Raising it finds drift a little sooner:
    ten times as many, about a tenth."""
    parts: Annotated[int, Field(ge=0, le=4096)] = 16
    """So many tenants are watched on their own, and as many collections; who has not asked for longest makes room."""


class AuditSection(_Section):
    """What is written down of each answer, for those who have to account for it."""

    folder: Path | None = None
    """Where records go, a chain for each worker; it is made, for its owner alone. None: nothing is kept, and no
    feedback is taken. That is the default: who asked what is personal data, and takes up disk, so somebody has to
    want it."""
    key: Path | None = None
    """File of 32 to 64 random bytes, which names answers and stands for texts. None: `key` in the folder, made at the
    first start. Replicas behind one balancer need the same, or feedback about an answer is refused by the others."""
    text_tenants: frozenset[str] = frozenset()
    """Tenants whose questions are kept as they were asked; "*": all. Of other questions a keyed hash tells no more than
    that two were the same. Text is what replay and harvest work on."""
    share: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Of all answers, what is drawn by chance to be judged: the estimate of the real error rate rests on these. Raising
    it makes that sharper sooner, and gives more to judge."""
    tighten: bool = True
    """Where the model's answers are for sure wrong more often than its certificate promises, by those that were drawn
    and judged, the certificate goes stale and the stricter threshold takes over. Any tenant's verdicts count: without
    this, they change figures alone."""
    waiting: Annotated[int, Field(ge=1, le=1_000_000)] = 8192
    """Records that wait to be written, some kB each; beyond these records are dropped, and counted."""
    sync_seconds: Annotated[float, Field(ge=0, le=3600)] = 1.0
    """Records of so many seconds may be lost with the power, and those of 0.1 s where the process is killed. 0: they
    are on disk as soon as they are written."""
    segment_mb: Annotated[int, Field(ge=1, le=4096)] = 32
    """Of one file."""
    max_mb: Annotated[int, Field(ge=2, le=10_000_000)] = 1024
    """Of each worker's chain, about 1.3 million answers; the oldest file is removed when there is more."""
    keep_days: Annotated[float, Field(gt=0, le=36_500, allow_inf_nan=False)] = 90.0
    """Files in which nothing is younger are removed."""

    @field_validator("text_tenants", mode="before")
    @classmethod
    def _names_in_a_variable(cls, given: object) -> object:
        return [name.strip() for name in given.split(",") if name.strip()] if isinstance(given, str) else given

    @model_validator(mode="after")
    def _a_chain_has_segments(self) -> Self:
        if self.max_mb < 2 * self.segment_mb:
            raise ValueError(f"max_mb is {self.max_mb}, and must be at least two segments of segment_mb")
        return self


class Config(_Section):
    """Everything that can be set, checked and frozen."""

    server: ServerSection = ServerSection()
    model: ModelSection = ModelSection()
    knowledge: KnowledgeSection = KnowledgeSection()
    cascade: CascadeSection = CascadeSection()
    admission: AdmissionSection = AdmissionSection()
    audit: AuditSection = AuditSection()
    drift: DriftSection = DriftSection()


def load(
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    flags: Mapping[str, object] | None = None,
) -> Config:
    """Defaults < TOML `file` < `environment` (GATEWAY_<SECTION>__<KEY>) < `flags` ("section.key" -> value, None unset).

    Without `file`, the one that GATEWAY_CONFIG names is read, if any. Raises ConfigInvalid.
    """
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
    try:
        return Config.model_validate(_tree(settings))
    except ValidationError as error:
        raise _explained(error, {path: origin for path, (_, origin) in settings.items()}) from None


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
    assert issubclass(section, _Section)
    keys = section.model_fields
    if len(path) == 1:
        if not isinstance(value, dict):
            raise ConfigInvalid(f"{path[0]} = {value!r} (from {origin}): is a section, not a key")
        return
    if path[1] not in keys:
        raise ConfigInvalid(f"{path[0]}.{path[1]}: no such key (from {origin}); {_nearest(path[1], keys)}")
    if len(path) > 2 and path[1] != "collections":
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
