"""The settings of the server itself: its ports, its bounds, its workers."""

from __future__ import annotations

import re
from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from gateway.config.section import Port, Section

_ORIGIN = re.compile(r"https?://[A-Za-z0-9.\[\]:-]+")


class ServerSection(Section):
    """The two ports, and what a request may ask of the process."""

    host: str = "127.0.0.1"
    """Of the gRPC port. Anything but loopback needs TLS ([tls]), or `insecure`."""
    insecure: bool = False
    """Serve other addresses than loopback without TLS: whoever is on the way reads questions, answers and keys, and may
    change them. For networks that encrypt by themselves."""
    port: Port = 50051
    """gRPC. 0 takes any free port."""
    admin_port: Port = 9464
    """Metrics, health and status over HTTP. 0 takes any free port."""
    admin_host: str = "127.0.0.1"
    """Of the admin port, which has no TLS. On any other address than loopback everyone there may read it; changes it
    takes from this machine alone."""
    json_origins: tuple[str, ...] = ()
    """Pages that may call the API as JSON by the admin port, by their origins, such as https://app.example. None:
    programs alone, and the page that is served there. In the environment: with commas between."""
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

    @field_validator("json_origins", mode="before")
    @classmethod
    def _origins_in_a_variable(cls, given: object) -> object:
        return [one.strip() for one in given.split(",") if one.strip()] if isinstance(given, str) else given

    @field_validator("json_origins")
    @classmethod
    def _are_origins(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        if strange := [one for one in given if not _ORIGIN.fullmatch(one)]:
            raise ValueError(
                f"{strange[0]!r} is no origin: a scheme, a host and perhaps a port, as https://app.example"
            )
        return given

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
