"""What the gateway is measured by: each measure with what is asked of it at least and what is aimed for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["aim met", "met", "missed", "not measured"]


@dataclass(frozen=True, slots=True)
class Measure:
    """One number. `unit` "" is a ratio or a count."""

    name: str
    what: str
    at_least: float
    """The floor; the ceiling where less is better."""
    aim: float
    unit: Literal["", "ms", "%"] = ""
    """Of % the value is a share, 0 to 1."""

    @property
    def is_less_better(self) -> bool:
        return self.aim < self.at_least or self.at_least == 0

    def verdict(self, value: float | None) -> Verdict:
        if value is None:
            return "not measured"
        sign = -1 if self.is_less_better else 1
        if sign * value >= sign * self.aim:
            return "aim met"
        return "met" if sign * value >= sign * self.at_least else "missed"

    def shown(self, value: float | None) -> str:
        if value is None:
            return "-"
        scaled = 100 * value if self.unit == "%" else value
        return f"{scaled:.4g} {self.unit}".rstrip()


MEASURES = {
    one.name: one
    for one in (
        Measure("capacity-triton", "capacity / that of Triton's best setting, same weights", 1.4, 2),
        Measure("cpu-triton", "server CPU an answer / Triton's least, same weights", 0.7, 0.45),
        Measure("cpu-student", "the same of the student, Triton on the larger weights", 0.5, 0.3),
        Measure("capacity-mlserver", "capacity / MLServer's, same weights", 2.5, 4),
        Measure("streamed", "capacity streamed / unary", 2, 3),
        Measure("cpu-floor", "server CPU an answer / (raw ONNX Runtime + bare grpc.aio echo)", 1.6, 1.25),
        Measure("added-p99", "p99 at half of the capacity - p99 of session.run alone", 5, 2, "ms"),
        Measure("goodput-2x", "goodput at 2 x the capacity, of the capacity", 0.9, 0.95, "%"),
        Measure("goodput-5x", "goodput at 5 x the capacity, of the capacity", 0.8, 0.9, "%"),
        Measure("goodput-10x", "goodput at 10 x the capacity, of the capacity", 0.6, 0.8, "%"),
        Measure("p99-10x", "p99 of the answers at 10 x the capacity / the target", 1.5, 1.1),
        Measure("wasted", "tokens computed for callers gone, at 10 x and a deadline of 20 ms", 0.02, 0.005, "%"),
        Measure("swap-errors", "errors around a swap of the bundle at half of the capacity", 0, 0),
        Measure("swap-p99", "p99 around that swap / before it", 2, 1.3),
        Measure("soak-rss", "memory after 10 minutes at 70 % / after one", 1.05, 1.01),
    )
}
