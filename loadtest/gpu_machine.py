"""What nvidia-smi says: whether there is a GPU to measure, which one, and what it draws meanwhile."""

from __future__ import annotations

import statistics
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import onnxruntime

from loadtest.processes import ServerFailed

CUDA = "CUDAExecutionProvider"
PERIOD_MS = 200
NO_DRIVER = (
    "no NVIDIA driver answers (nvidia-smi -L lists no GPU). Install the driver for your GPU "
    "(Debian: apt-get install nvidia-driver, then restart), and in a container pass the GPU through"
)
NO_PROVIDER = (
    f"the onnxruntime that is installed has no {CUDA}. "
    "pip uninstall -y onnxruntime onnxruntime-gpu && pip install -e '.[gpu,dev]': "
    "that brings onnxruntime-gpu with CUDA and cuDNN as wheels"
)


@dataclass(frozen=True, slots=True)
class Draw:
    """Means over a stretch of time; nothing where nvidia-smi does not say. Of all GPUs that it lists together."""

    watts: float | None = None
    utilization: float | None = None
    """Percent of the time in which a kernel ran, however small: 100 does not mean that no more would fit."""
    memory_mb: float | None = None


def missing() -> str:
    """Why nothing can be measured on a GPU here, and what to do about it; empty if it can."""
    if not gpus():
        return NO_DRIVER
    if CUDA not in onnxruntime.get_available_providers():
        return NO_PROVIDER
    return ""


def gpus() -> list[str]:
    """Name, driver and memory of each GPU."""
    return _asked("--query-gpu=name,driver_version,memory.total", "--format=csv,noheader")


def _asked(*arguments: str) -> list[str]:
    try:
        done = subprocess.run(  # noqa: S603 - our own arguments
            ["nvidia-smi", *arguments],  # noqa: S607 - whichever the driver brought
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [line.strip() for line in done.stdout.splitlines() if line.strip()] if done.returncode == 0 else []


class Meter:
    """Gives what was drawn while `running` lasted, once it has ended."""

    def __init__(self) -> None:
        self.draw = Draw()

    @contextmanager
    def running(self, *, is_on: bool) -> Iterator[Meter]:
        """Nothing is measured unless `is_on`. Raises ServerFailed where nvidia-smi has gone."""
        if not is_on:
            yield self
            return
        query = ("--query-gpu=index,power.draw,utilization.gpu,memory.used", "--format=csv,noheader,nounits")
        with tempfile.TemporaryFile("w+") as output:
            try:
                sampling = subprocess.Popen(  # noqa: S603 - our own arguments
                    ["nvidia-smi", *query, f"-lms={PERIOD_MS}"],  # noqa: S607
                    stdout=output,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                )
            except OSError as error:
                raise ServerFailed(f"nvidia-smi: {error.strerror}") from None
            try:
                yield self
            finally:
                sampling.terminate()
                sampling.wait(30)
            output.seek(0)
            self.draw = mean(output.read().splitlines())


def mean(lines: Sequence[str]) -> Draw:
    """Of lines "index, watts, percent, MiB": summed over GPUs, the utilization averaged. What is no number is left out,
    such as "[N/A]" for the power of a virtual GPU, and a last line that was cut off."""
    columns: list[dict[str, list[float]]] = [{}, {}, {}]
    for line in lines:
        index, *values = (part.strip() for part in line.split(","))
        if len(values) == len(columns):
            for column, value in zip(columns, values, strict=True):
                if value.replace(".", "", 1).isdigit():
                    column.setdefault(index, []).append(float(value))
    watts, percent, memory = ([statistics.fmean(of_one) for of_one in column.values()] for column in columns)
    return Draw(
        round(sum(watts), 1) if watts else None,
        round(statistics.fmean(percent), 1) if percent else None,
        round(sum(memory), 1) if memory else None,
    )
