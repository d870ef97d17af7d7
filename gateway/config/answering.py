"""The settings of who is let in, and of how they are answered."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from gateway.config.section import Section
from gateway.types import Policy


class CascadeSection(Section):
    """How the tiers are combined."""

    default_policy: Policy = Policy.CASCADE
    """For requests that name none."""
    price_per_ms: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.001
    """What a millisecond of a search has to bring in P(right) for the policy `routing` to make it: by default, one more
    right answer in a thousand."""
    cached_answers: Annotated[int, Field(ge=0, le=10_000_000)] = 0
    """Answers kept for whoever asks the same, with the same rights, of the same knowledge; 0: none. Some kB each."""


class AdmissionSection(Section):
    """Who is let in when more is asked than can be answered in time. server.max_in_flight is the last bound."""

    tenant_rate: Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)] = 0.0
    """Questions a second that one tenant may ask, of each replica, each document that it writes or deletes counted as
    one. 0: as many as it likes."""
    tenant_burst: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """Questions that a tenant may ask at once within tenant_rate. 0: those of two seconds."""
    tenant_rates: dict[str, Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]] = {}  # noqa: RUF012 - pydantic
    """Tenant -> questions a second for it, instead of tenant_rate, and those of two seconds at once."""
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
