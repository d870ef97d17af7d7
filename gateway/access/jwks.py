"""The public keys of who issues tokens: from a file, or by HTTPS, always read before somebody waits for them."""

from __future__ import annotations

import json
import logging
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any, Protocol

import jwt

from gateway.access.watched import Watched
from gateway.errors import ConfigInvalid

log = logging.getLogger(__name__)

MOST_BYTES = 2**20
TIMEOUT = 5.0
"""Seconds."""
LEAST_PERIOD = 30.0
"""Seconds between two readings of a URL, whatever is wanted: tokens with made-up keys must not become requests."""
GOOD_FOR = 86_400.0
"""Seconds that keys are good for while the URL gives no others."""
BY_CURVE = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512", "Ed25519": "EdDSA", "Ed448": "EdDSA"}
LEAST_BITS = 2048
"""Of an RSA key."""
RSA = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})


@dataclass(frozen=True, slots=True)
class PublicKey:
    """`key` is cryptography's. `algorithms`: what it may verify, which is the key's to say and not a token's."""

    key: Any
    algorithms: frozenset[str]


Keys = Mapping[str, PublicKey]
"""By their `kid`."""


class Source(Protocol):
    """Where keys come from. `look` is called now and then, in a thread; the others from any."""

    @property
    def current(self) -> Keys: ...

    def look(self) -> None: ...

    def want(self) -> None:
        """There is a token by a key that is not there: perhaps there is a new one."""


class FileSource:
    """Read again when it changes. Raises ConfigInvalid where it cannot begin. `fetched` hears when it was read."""

    def __init__(self, path: Path, told: Callable[[bool], None], fetched: Callable[[float], None]) -> None:
        def read() -> Keys:
            try:
                keys = keys_in(path.read_bytes(), str(path))
            except OSError as error:
                raise ConfigInvalid(f"{path}: cannot be read ({error.strerror})") from None
            fetched(time.time())
            return keys

        self._watched = Watched("JWK set", [path], read, told)

    @property
    def current(self) -> Keys:
        return self._watched.current

    def look(self) -> None:
        self._watched.look()

    def want(self) -> None:
        """It is looked at all the time."""


class RemoteSource:
    """Fetched every `period` seconds, and sooner where one is wanted. It begins without keys where nobody answers: then
    no token is believed, and all else goes on."""

    def __init__(
        self,
        url: str,
        period: float,
        told: Callable[[bool], None],
        fetched: Callable[[float], None],
        fetch: Callable[[str], bytes] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = url
        self._period = period
        self._told = told
        self._fetched = fetched
        self._fetch = fetch or fetch_https
        self._clock = clock
        self._tried_at = self._fetched_at = float("-inf")
        self._has_failed = self._is_wanted = False
        self._text = b""
        self._keys: Keys = {}
        self.look()

    @property
    def current(self) -> Keys:
        return self._keys

    def want(self) -> None:
        self._is_wanted = True

    def look(self) -> None:
        now = self._clock()
        period = LEAST_PERIOD if self._is_wanted or self._has_failed else self._period
        if now - self._tried_at < period:
            return
        self._tried_at, self._is_wanted = now, False
        try:
            text = self._fetch(self._url)
            is_other = text != self._text or not self._keys
            keys = keys_in(text, self._url) if is_other else self._keys
        except (ConfigInvalid, OSError, HTTPException) as error:
            self._fail(str(error) or type(error).__name__, now)
            return
        self._fetched_at, self._has_failed = now, False
        self._fetched(time.time())
        if is_other:
            self._text, self._keys = text, keys
            self._told(True)

    def _fail(self, why: str, now: float) -> None:
        self._has_failed = True
        self._told(False)
        if self._keys and now - self._fetched_at > GOOD_FOR:
            self._keys = {}
        what = "the keys of the last time stay in use" if self._keys else "no token is believed"
        log.error("%s gave no keys, and %s: %s", self._url, what, why)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Another place is not the one that was trusted."""

    def redirect_request(self, *_: Any) -> None:
        return None


def fetch_https(url: str) -> bytes:
    """Raises OSError, HTTPException."""
    opener = urllib.request.build_opener(_NoRedirects)
    with opener.open(url, timeout=TIMEOUT) as response:
        body: bytes = response.read(MOST_BYTES + 1)
    if len(body) > MOST_BYTES:
        raise OSError(f"more than {MOST_BYTES} bytes")
    return body


def keys_in(text: bytes, where: str) -> Keys:
    """Those that have a `kid` and are there to verify signatures. Raises ConfigInvalid for none, and for two alike."""
    try:
        given = json.loads(text)["keys"]
        entries = [one for one in given if isinstance(one, dict) and one.get("use", "sig") == "sig"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ConfigInvalid(f"{where}: is no JWK set") from None
    found: dict[str, PublicKey] = {}
    for one in entries:
        kid, key = one.get("kid"), _key(one)
        if key is None or not kid or not isinstance(kid, str):
            continue
        if kid in found:
            raise ConfigInvalid(f"{where}: has two keys with the kid {kid!r}")
        found[kid] = key
    if not found:
        raise ConfigInvalid(f"{where}: has no public key with a kid that verifies signatures")
    return found


def _key(one: dict[str, Any]) -> PublicKey | None:
    """None for what nothing is verified by: symmetric keys, short ones, and kinds that are unknown here."""
    named, curve = one.get("alg"), one.get("crv")
    if one.get("kty") == "RSA":
        fitting = RSA
    elif isinstance(curve, str) and curve in BY_CURVE:
        fitting = frozenset({BY_CURVE[curve]})
    else:
        return None
    public = {name: value for name, value in one.items() if name not in ("d", "p", "q", "dp", "dq", "qi", "oth")}
    try:
        key = jwt.PyJWK(public, algorithm=named or min(fitting)).key
    except Exception:  # noqa: BLE001  # of several libraries, by what is wrong with it
        return None
    if fitting is RSA and key.key_size < LEAST_BITS:
        return None
    return PublicKey(key, fitting if named is None else fitting & {named})
