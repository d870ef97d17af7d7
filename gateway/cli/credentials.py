"""The API key that commands show: from the environment or a file, as arguments are seen by everyone on a machine."""

from __future__ import annotations

import os
from pathlib import Path

from gateway.cli.main import WrongSettings

KEY_VARIABLE = "GATEWAY_API_KEY"
FILE_VARIABLE = "GATEWAY_API_KEY_FILE"


def api_key(file: Path | None = None) -> str:
    """That of the file, or else of the environment; empty where there is none. Raises WrongSettings."""
    if file is None and os.environ.get(FILE_VARIABLE):
        file = Path(os.environ[FILE_VARIABLE])
    if file is None:
        return os.environ.get(KEY_VARIABLE, "")
    try:
        return file.read_text(encoding="ascii").strip()
    except OSError as error:
        raise WrongSettings(f"{file}: cannot be read ({error.strerror}); name the key's file") from None
    except UnicodeDecodeError:
        raise WrongSettings(f"{file}: holds no API key") from None
