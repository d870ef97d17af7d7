"""`gateway loadtest`: the load-testing harness, which is in a checkout of the project, not in the installed package."""

from __future__ import annotations

import click

from gateway.cli.main import Failure

try:
    from loadtest.__main__ import main
except ModuleNotFoundError as missing:
    # Either the harness itself, or one of the packages that it takes and serving does not.
    package = str(missing.name).partition(".")[0]
    what = "the load-testing harness" if package == "loadtest" else package
    raise Failure(
        f"{what} is not here: in a checkout of the project, make an environment with "
        "pip install -e '.[cpu,dev]', or [gpu,dev], and call that one's `gateway loadtest`"
    ) from None

loadtest: click.Command = main
