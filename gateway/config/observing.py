"""The settings of what is told to who operates it: log and traces."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field, field_validator

from gateway.config.section import Section


class LogFormat(StrEnum):
    """TEXT for people, JSON (an object a line) for what collects logs."""

    TEXT = "text"
    JSON = "json"


class LogLevel(StrEnum):
    """The least that is written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogSection(Section):
    """What goes to standard error. Lines about calls have no question or answer in them, are of level info, and
    at most 20 a second are written: the next one says how many were left out."""

    format: LogFormat = LogFormat.TEXT
    level: LogLevel = LogLevel.INFO
    calls: bool = True
    """Whether calls that failed or were slow have a line."""
    slow_ms: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1000.0
    """A call that took longer is slow. Streams last as long as they want to, and never are."""
    share: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Of all other calls, what has a line too."""


class TraceSection(Section):
    """OpenTelemetry spans: one for a call, and one for each stage of its answer. Without a question or an answer."""

    endpoint: str = ""
    """Where spans go by OTLP over HTTP, such as http://127.0.0.1:4318/v1/traces. Empty: no span is made. Needs
    `pip install 'cascade-gateway[otel]'`; credentials are what OTEL_EXPORTER_OTLP_HEADERS says."""
    share: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Of the calls whose callers have not decided it, what is traced. Where `traceparent` says whether a trace is
    sampled, that holds, whatever the share."""
    waiting: Annotated[int, Field(ge=1, le=1_000_000)] = 2048
    """Calls that wait to be sent; beyond these they are dropped, and counted."""

    @field_validator("endpoint")
    @classmethod
    def _is_a_url(cls, given: str) -> str:
        if given and not given.startswith(("http://", "https://")):
            raise ValueError("must begin with http:// or https://, as in http://127.0.0.1:4318/v1/traces")
        return given
