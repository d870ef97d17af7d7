"""Settings that change while it serves: read again as a whole, and used or refused as a whole. Imports no gRPC."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web
from pydantic import ValidationError

from gateway.config import AdmissionSection, Config
from gateway.errors import ConfigInvalid
from gateway.rpc.changes import asked_of, problem

log = logging.getLogger(__name__)

CHANGEABLE: Mapping[str, frozenset[str]] = {
    "server": frozenset({"default_timeout_ms", "max_timeout_ms", "max_in_flight"}),
    "admission": frozenset(AdmissionSection.model_fields),
    # Not its level: to set that takes a lock of Python's which gRPC's objects take too when they are collected, in the
    # other order (grpc#43421).
    "log": frozenset({"calls", "slow_ms", "share"}),
    "trace": frozenset({"share"}),
}
"""Section -> its keys that need no restart. Files of keys, tokens and certificates are looked at by themselves, and
`gateway swap` changes the bundle."""

Values = Mapping[str, Mapping[str, Any]]


def changed(before: Config, after: Config) -> list[str]:
    """Names of the keys that differ, such as admission.tenant_rate."""
    return [
        f"{section}.{key}"
        for section in Config.model_fields
        for key in type(getattr(before, section)).model_fields
        if getattr(getattr(before, section), key) != getattr(getattr(after, section), key)
    ]


def values_of(config: Config) -> Values:
    """Those that are CHANGEABLE, as JSON has them."""
    return {
        section: getattr(config, section).model_dump(mode="json", include=keys) for section, keys in CHANGEABLE.items()
    }


class Settings:
    """`config` is what is in force; `read` reads it again, from where it came; `use` puts another one into force, of
    which only what is CHANGEABLE differs; `count` is told how each attempt ended."""

    def __init__(
        self,
        config: Config,
        read: Callable[[], Config],
        use: Callable[[Config], None],
        count: Callable[[bool], None] = lambda is_in_use: None,
    ) -> None:
        self.config = config
        self._read = read
        self._use = use
        self._count = count

    def reload(self) -> list[str]:
        """The names of those that have changed and are used from now on. Raises ConfigInvalid where they are not valid,
        and where one of them needs a restart: nothing changes then."""
        try:
            names = self._renew(self._read())
        except ConfigInvalid as error:
            self._count(False)
            log.error("the settings were not read again, and stay as they were: %s", error)
            raise
        self._count(True)
        log.info("the settings were read again: %s", ", ".join(names) or "nothing has changed")
        return names

    def take(self, values: Values) -> list[str]:
        """As `reload`, for a worker, whose supervisor has read them."""
        try:
            sections = {
                name: type(section := getattr(self.config, name)).model_validate({**section.model_dump(), **given})
                for name, given in values.items()
            }
        except (ValidationError, AttributeError, TypeError) as error:
            raise ConfigInvalid(f"from the supervisor: {error}") from None
        names = self._renew(self.config.model_copy(update=sections))
        self._count(True)
        return names

    def _renew(self, fresh: Config) -> list[str]:
        names = changed(self.config, fresh)
        fixed = [name for name in names if name.partition(".")[2] not in CHANGEABLE.get(name.partition(".")[0], ())]
        if fixed:
            raise ConfigInvalid(
                f"{', '.join(fixed)}: needs a restart; nothing was changed, and so were none of the others"
            )
        if names:
            self._use(fresh)
            self.config = fresh
        return names

    def on_hangup(self) -> None:
        """For SIGHUP: what is wrong is in the log."""
        with contextlib.suppress(ConfigInvalid):
            self.reload()

    async def post(self, request: web.Request) -> web.Response:
        """POST /settings with {}: read them again. 200 with {"changed": [...]}, or 422 with what is wrong. A worker is
        given {"values": ...}."""
        values = (await asked_of(request)).get("values")
        try:
            names = self.reload() if values is None else self.take(values)  # type: ignore[arg-type]
        except ConfigInvalid as error:
            raise problem(web.HTTPUnprocessableEntity, str(error)) from None
        return web.json_response({"changed": names})
