"""The settings of the model."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator

from gateway.config.section import Section
from gateway.config.shipped import shipped

LEAST_BATCH_TOKENS = 64


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


class ModelSection(Section):
    """Which bundle runs, and where."""

    bundle: Path = Field(default_factory=lambda: shipped("models/banking/1"))
    """A folder with a manifest.json, or one of versions, of which the promoted one is meant (`gateway models`). The
    default is models/banking/1, in the working directory or as the package has it.
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
    trusted_keys: tuple[Path, ...] = ()
    """Files with an Ed25519 public key in PEM. With any, a bundle is served only if one of them has signed its manifest
    (`gateway models sign`), at a start and by a swap. In the environment: with commas between."""

    @field_validator("trusted_keys", mode="before")
    @classmethod
    def _files_in_a_variable(cls, given: object) -> object:
        if not isinstance(given, str):
            return given
        if names := [name.strip() for name in given.split(",") if name.strip()]:
            return names
        # An empty variable is a mistake sooner than a wish to trust everybody.
        raise ValueError("names no file; leave it out, or write [] in a settings file, to ask for no signature")

    @field_validator("max_batch_tokens")
    @classmethod
    def _a_batch_holds_a_question(cls, given: int) -> int:
        if 0 < given < LEAST_BATCH_TOKENS:
            raise ValueError(f"must be at least {LEAST_BATCH_TOKENS}, or 0 for the device's own")
        return given
