"""A gateway that serves nobody yet, kept in step with the log: what is written meanwhile is there when it is asked."""

from __future__ import annotations

import asyncio
import logging

from gateway.rpc.service import Startable

log = logging.getLogger(__name__)

PERIOD = 0.5
"""Seconds between two looks at the log. A look where nothing was written takes microseconds."""


class Following:
    """Of a `gateway` that is started. On the event loop, until `end`."""

    def __init__(self, gateway: Startable, period: float | None = None) -> None:
        self._gateway = gateway
        self._period = PERIOD if period is None else period
        self._task = asyncio.create_task(self._follow())

    async def end(self) -> None:
        self._task.cancel()
        await asyncio.wait({self._task})

    async def _follow(self) -> None:
        while True:
            try:
                await self._gateway.follow()
            except Exception:  # it is asked for nothing yet, and the next look may go well
                log.exception("%s could not follow the log", self._gateway.describe().bundle)
            await asyncio.sleep(self._period)
