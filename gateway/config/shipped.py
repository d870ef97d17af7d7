"""Where what comes with the gateway is: in the working folder of a checkout, or in the package that was installed."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).parent.parent


def shipped(name: str) -> Path:
    """The folder `name`, such as models/banking/1: as it is where there is one here, else the package's own copy, which
    a wheel has, or the checkout's that the package runs from. Where there is none, `name`, to be named in an error."""
    here = Path(name)
    return next((one for one in (here, PACKAGE / "shipped" / name, PACKAGE.parent / name) if one.is_dir()), here)
