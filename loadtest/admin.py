"""The admin port of a gateway under load: what it has counted, and another bundle for it. It blocks: use a thread."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

PATIENCE = 10.0
"""Seconds for what only reads."""
SWAP_PATIENCE = 120.0
"""Seconds for a bundle to be loaded and checked, at the lowest priority beside the load."""


class AdminFailed(RuntimeError):
    """The admin port cannot be reached, or refuses; the message has its words."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """What the model tier has computed since the gateway started."""

    computed: int
    wasted: int
    """Of them, those of questions whose caller had gone, or whose deadline had passed, when they were done."""

    def since(self, before: Tokens) -> Tokens:
        return Tokens(self.computed - before.computed, self.wasted - before.wasted)

    @property
    def wasted_share(self) -> float | None:
        """Nothing where nothing was computed, or where another bundle began to count from 0."""
        return round(self.wasted / self.computed, 6) if self.computed > 0 and self.wasted >= 0 else None


@dataclass(frozen=True, slots=True)
class Admin:
    """HOST:PORT of it. Every method raises AdminFailed."""

    address: str

    def tokens(self) -> Tokens:
        families = text_string_to_metric_families(_asked(f"http://{self.address}/metrics", None, PATIENCE))
        found = {sample.name: int(sample.value) for family in families for sample in family.samples}
        try:
            return Tokens(found["gateway_tokens_total"], found["gateway_wasted_tokens_total"])
        except KeyError as missing:
            raise AdminFailed(f"{self.address}: has no metric {missing}: is it a gateway's --admin-port?") from None

    def swap(self, folder: Path) -> str:
        """Return the id of the bundle that then serves. `folder` is read by the gateway, on its machine."""
        body = json.dumps({"folder": str(folder.resolve())}).encode()
        return str(json.loads(_asked(f"http://{self.address}/bundle", body, SWAP_PATIENCE))["bundle"])


def _asked(url: str, body: bytes | None, patience: float) -> str:
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})  # noqa: S310 - http
    try:
        with urllib.request.urlopen(request, timeout=patience) as response:  # noqa: S310
            return str(response.read().decode())
    except urllib.error.HTTPError as error:
        with error:
            raise AdminFailed(f"{url}: {error.code}: {error.read().decode(errors='replace').strip()}") from None
    except OSError as error:
        raise AdminFailed(f"{url}: {getattr(error, 'reason', error)}") from None
