"""What a worker is told when it is started: one line of JSON on its standard input, which then stays open."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from gateway.config import Config
from gateway.errors import ConfigInvalid


class Orders(BaseModel):
    """`number` counts from 0, `socket` is where its admin endpoint goes. The settings come whole: a worker that is
    started again must not find a file or a variable changed and serve something else than the others."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int
    socket: Path
    config: Config

    def line(self) -> bytes:
        """For `received`. Only what was set: whether somebody named the collections makes a difference."""
        return self.model_dump_json(exclude_unset=True).encode() + b"\n"


def received(descriptor: int = 0) -> Orders:
    """Read one line and not a byte more. Raises ConfigInvalid where nobody gives orders."""
    with open(descriptor, "rb", buffering=0, closefd=False) as pipe:  # a descriptor is no path
        line = pipe.readline()
    try:
        return Orders.model_validate_json(line)
    except ValidationError:
        raise ConfigInvalid("--as-worker: only `gateway serve --workers` starts workers") from None
