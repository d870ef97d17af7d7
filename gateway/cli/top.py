"""`gateway top`: what a running gateway does now, in a terminal; the page on its admin port shows the same."""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from typing import Any

import click
from rich.console import Console
from rich.live import Live

from gateway.cli.admin_port import ADMIN, asked
from gateway.cli.main import NotReached
from gateway.cli.top_screen import KEPT, screen

TIMEOUT = 5.0
SPANS = ("60", "300")


class Watched:
    """A gateway at the admin port `admin`, asked again and again: each time only for points that are new."""

    def __init__(self, admin: str, span: int) -> None:
        self._url = f"http://{admin}/live?span={span}"
        self._serial = ""
        self._points: deque[dict[str, Any]] = deque()

    def look(self) -> dict[str, Any]:
        """What is live, with all points of the last minutes. Raises NotReached, Refused."""
        after = self._points[-1]["number"] if self._points else 0
        now = asked(f"{self._url}&after={after}", None, TIMEOUT)
        if now["serial"] != self._serial and after:
            self._points.clear()  # another server, whose numbers begin anew
            now = asked(f"{self._url}&after=0", None, TIMEOUT)
        self._serial = now["serial"]
        self._points.extend(now["points"])
        while self._points and self._points[0]["at"] <= now["at"] - KEPT:
            self._points.popleft()
        return now | {"points": list(self._points)}


@click.command()
@ADMIN
@click.option("--span", type=click.Choice(SPANS), default="60", show_default=True, help="Seconds that are summed up.")
@click.option("--every", type=click.FloatRange(min=0.5, max=60), default=1.0, show_default=True, help="Seconds.")
@click.option("--once", is_flag=True, help="Show it once and end, as where the output is no terminal.")
@click.option("--json", "is_json", is_flag=True, help="Print what GET /live says, once.")
def top(admin: str, span: str, every: float, once: bool, is_json: bool) -> None:
    """Watch what a running gateway does: routes, latencies, confidences, certificate, knowledge, errors.

    Ends with Ctrl-C. Where nothing answers any more, it says so and tries again.
    """
    watched = Watched(admin, int(span))
    if is_json:
        click.echo(json.dumps(watched.look(), indent=2))
        return
    console = Console()
    now = watched.look()
    if once or not sys.stdout.isatty():
        console.print(screen(now, console.width))
        return
    with Live(screen(now, console.width), console=console, screen=True, auto_refresh=False) as live:
        try:
            _follow(watched, live, now, every)
        except KeyboardInterrupt:
            return


def _follow(watched: Watched, live: Live, now: dict[str, Any], every: float) -> None:
    """Until it is interrupted."""
    while True:
        time.sleep(every)
        problem = ""
        try:
            now = watched.look()
        except NotReached as error:
            problem = str(error)
        live.update(screen(now, live.console.width, problem), refresh=True)
