"""Recording rules: how much of the service is good, over every window that an alert looks at, and what graphs share."""

from __future__ import annotations

from dataclasses import dataclass

WINDOWS = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")


@dataclass(frozen=True, slots=True)
class Objective:
    """A share of good events that was promised. `bad` and `all` are rates over a window, in PromQL, `%s` standing for
    it."""

    name: str
    promised: float
    bad: str
    all: str
    says: str

    @property
    def budget(self) -> float:
        """The share that may be bad."""
        return round(1 - self.promised, 6)

    def ratio(self, window: str) -> str:
        """The name of the recorded share of bad ones."""
        return f"gateway:{self.name}_errors:ratio_rate{window}"


_CALLS = 'grpc_server_handled_total{grpc_service="gateway.v1.Answers"'
OBJECTIVES = (
    Objective(
        "availability",
        0.999,
        f'sum(rate({_CALLS},grpc_code=~"Unknown|Internal|Unavailable|DataLoss"}}[%s]))',
        f"sum(rate({_CALLS}}}[%s]))",
        "calls of Answers that fail by our doing",
    ),
    Objective(
        "latency",
        0.99,
        "(sum(rate(gateway_request_duration_seconds_count[%s]))"
        ' - sum(rate(gateway_request_duration_seconds_bucket{le="0.2"}[%s])))',
        "sum(rate(gateway_request_duration_seconds_count[%s]))",
        "questions that take longer than 200 ms",
    ),
)


def _over(text: str, window: str) -> str:
    return text.replace("%s", window)


def recorded() -> dict[str, str]:
    """Name -> expression."""
    found = {
        one.ratio(window): f"{_over(one.bad, window)} / ({_over(one.all, window)} > 0)"
        for one in OBJECTIVES
        for window in WINDOWS
    }
    for window in ("5m", "1d"):
        answers = f"sum(rate(gateway_route_decisions_total[{window}]))"
        found[f"gateway:route:share{window}"] = (
            f"sum by (route) (rate(gateway_route_decisions_total[{window}])) / on() group_left() ({answers} > 0)"
        )
        found[f"gateway:degraded:ratio{window}"] = (
            f'sum(rate(gateway_request_duration_seconds_count{{outcome="degraded"}}[{window}]))'
            f" / (sum(rate(gateway_request_duration_seconds_count[{window}])) > 0)"
        )
    for quantile in (50, 99):
        found[f"gateway:request_duration:p{quantile}_5m"] = (
            f"histogram_quantile(0.{quantile}, sum by (route, le) (rate(gateway_request_duration_seconds_bucket[5m])))"
        )
    return found
