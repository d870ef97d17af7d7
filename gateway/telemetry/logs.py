"""The log: lines for people or JSON, configured once a process."""

from __future__ import annotations

import datetime
import json
import logging
import sys
from contextvars import ContextVar

TRACE: ContextVar[str] = ContextVar("trace", default="")
"""The id of the trace that what runs now belongs to; empty without one."""
CALL = "call"
"""Of a record: a mapping with what is known of a call."""
TEXT = "%(asctime)s %(levelname)s {worker}%(name)s: %(message)s"


class JsonFormatter(logging.Formatter):
    """One object a line: time (ISO 8601, UTC), level, logger, message, and, where there are any, worker, trace_id,
    exception, and what is known of the call."""

    def __init__(self, worker: int | None) -> None:
        super().__init__()
        self._worker = worker

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.datetime.fromtimestamp(record.created, datetime.UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if self._worker is not None:
            line["worker"] = self._worker
        if trace := TRACE.get():
            line["trace_id"] = trace
        line.update(getattr(record, CALL, {}))
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def configure(level: str, is_json: bool, worker: int | None = None) -> None:
    """Once, before the first grpc.aio object: reconfiguring logging later can deadlock with finalisers (grpc#43421)."""
    handler = logging.StreamHandler(sys.stderr)
    text = logging.Formatter(TEXT.format(worker="" if worker is None else f"worker {worker} "))
    handler.setFormatter(JsonFormatter(worker) if is_json else text)
    logging.basicConfig(level=level.upper(), handlers=[handler])
