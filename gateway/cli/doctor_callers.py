"""What `gateway doctor` says of who can reach a server, and of who is let in."""

from __future__ import annotations

import math
import time

from gateway.access.certificates import read_identity
from gateway.access.keys import callers_in
from gateway.cli.checks import Check, Level
from gateway.config import Config, TlsSection
from gateway.rpc.binding import check_exposure, exposures, is_loopback
from gateway.rpc.credentials import authority_of

DAY, SOON_DAYS = 86_400.0, 14.0


def exposure(config: Config) -> Check:
    """Who else could read and ask, as the settings allow."""
    check_exposure(config)
    if found := list(exposures(config)):
        return Check("exposure", Level.WARN, "; ".join(found), "or serve 127.0.0.1 alone, behind what protects it")
    return Check("exposure", Level.OK, "nobody beyond this machine" if is_loopback(config.server.host) else "TLS")


def tls(section: TlsSection) -> Check:
    """Whether certificate and key belong together, and for how long they hold."""
    assert section.certificate is not None
    assert section.key is not None
    found = read_identity(section.certificate, section.key, section.client_ca)
    ends = {section.certificate: found.not_after, section.client_ca: found.client_ca_not_after or math.inf}
    first = min(ends, key=lambda path: ends[path])
    days = (ends[first] - time.time()) / DAY
    if days < SOON_DAYS:
        return Check("tls", Level.WARN, f"{first}: ends in {days:.1f} days", "renew it; it is read while serving")
    return Check("tls", Level.OK, f"certificate and key belong together, and hold for {days:.0f} days")


def callers(config: Config) -> Check:
    """Whether there is anybody that would be let in."""
    authority = authority_of(config)  # whatever cannot be read raises
    tokens = f"tokens of {config.jwt.issuer}" if config.jwt.jwks else ""
    if config.jwt.is_remote and authority and not authority.has_token_keys:
        return Check("callers", Level.WARN, f"{config.jwt.jwks} gives no keys", "no token is believed until it does")
    if config.access.keys is None:
        return Check("callers", Level.OK, tokens)
    found, now = callers_in(config.access.keys), time.time()
    ends = [one.expires for one in (*found.by_digest.values(), *found.by_name.values()) if one.expires > now]
    soon = sum(end < now + SOON_DAYS * DAY for end in ends)
    shown = ", ".join(filter(None, (f"{config.access.keys}: {len(ends)} callers", tokens)))
    if soon or not (ends or tokens):
        fix = "`gateway keys list` names them, `gateway keys create` makes others"
        return Check("callers", Level.WARN, f"{shown}, {soon} of them for less than {SOON_DAYS:.0f} days", fix)
    return Check("callers", Level.OK, shown)
