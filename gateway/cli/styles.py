"""The colours of a terminal that mean the same wherever they are seen."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.types import Route

ROUTES: Mapping[Route, str] = {
    Route.MODEL: "green",
    Route.RETRIEVAL: "cyan",
    Route.ENSEMBLE: "blue",
    Route.ABSTAIN: "yellow",
}
