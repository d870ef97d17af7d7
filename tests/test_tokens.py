"""Tokens of an issuer: what makes one good, what it allows, and the keys that it is verified by."""

from __future__ import annotations

import base64
import hmac
import json
import math
import threading
import time
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from gateway.access import jwks, tokens
from gateway.access.authority import Authority
from gateway.access.grants import Scope
from gateway.access.jwks import FileSource, RemoteSource, keys_in
from gateway.access.tokens import TokenRules, Tokens
from gateway.client import AsyncClient, CallFailed
from gateway.config import Config, JwtSection
from gateway.errors import ConfigInvalid, Unauthenticated
from gateway.rpc.server import Server
from gateway.telemetry.metrics import Metrics
from gateway.types import Criticality, Principal
from tests.fakes import FakeGateway

ISSUER, AUDIENCE = "https://id.example", "gateway"
RULES = TokenRules(ISSUER, AUDIENCE, frozenset({"ES256", "EdDSA", "RS256"}))
NOBODY = None


class Issuer:
    """Signs tokens. `published` is its key set."""

    def __init__(self) -> None:
        self.keys: dict[str, Any] = {"one": ec.generate_private_key(ec.SECP256R1())}

    def published(self, **more: str) -> bytes:
        return json.dumps({"keys": [self.jwk(kid) | more for kid in self.keys]}).encode()

    def jwk(self, kid: str) -> dict[str, Any]:
        key = self.keys[kid].public_key()
        kinds = {rsa.RSAPublicKey: RSAAlgorithm, ed25519.Ed25519PublicKey: OKPAlgorithm}
        kind: Any = next((one for type_, one in kinds.items() if isinstance(key, type_)), ECAlgorithm)
        return {**kind.to_jwk(key, as_dict=True), "kid": kid, "use": "sig"}

    def token(self, kid: str = "one", algorithm: str = "ES256", key: Any = None, **claims: object) -> str:
        usual = {"iss": ISSUER, "aud": AUDIENCE, "exp": time.time() + 600, "tenant": "acme", "scope": "ask search"}
        said = {name: value for name, value in (usual | claims).items() if value is not None}
        return jwt.encode(said, key or self.keys[kid], algorithm, headers={"kid": kid})


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


class Given:
    """Keys that are there, for Tokens."""

    def __init__(self, text: bytes) -> None:
        self.current = keys_in(text, "test")
        self.wanted = 0

    def look(self) -> None:
        pass

    def want(self) -> None:
        self.wanted += 1


PUBLISHED = Given(Issuer().published())


def known(issuer: Issuer, rules: TokenRules = RULES) -> Tokens:
    return Tokens(rules, Given(issuer.published()))


def why(tokens: Tokens, token: str) -> str:
    with pytest.raises(Unauthenticated) as refused:
        tokens.grant(token)
    return refused.value.reason


# What makes a token good.


def test_a_token_says_who_calls_and_what_that_one_may(issuer: Issuer) -> None:
    ends = time.time() + 600
    token = issuer.token(groups=["staff", "/not/ours", 7], tenant=["acme", "beta"], exp=ends, scope="ask write other")
    grant = known(issuer).grant(token)
    assert (grant.tenants, grant.groups) == (("acme", "beta"), frozenset({"staff"}))
    assert grant.scopes == frozenset({Scope.ASK, Scope.WRITE})
    assert grant.expires == pytest.approx(ends + tokens.LEEWAY)
    assert grant.highest is Criticality.CRITICAL


def test_claims_may_have_other_names(issuer: Issuer) -> None:
    rules = TokenRules(
        ISSUER, AUDIENCE, RULES.algorithms, "org", "roles", "scp", "gateway.", highest=Criticality.SHEDDABLE
    )
    token = issuer.token(org="beta", roles="a b", scp=["gateway.ask", "search", "gateway.admin"])
    grant = known(issuer, rules).grant(token)
    assert grant.usual == Principal("beta", frozenset({"a", "b"}))
    assert grant.scopes == frozenset({Scope.ASK, Scope.ADMIN})
    assert grant.highest is Criticality.SHEDDABLE


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"exp": time.time() - 61}, "expired"),
        ({"exp": None}, "invalid"),
        ({"iss": None}, "invalid"),
        ({"aud": None}, "invalid"),
        ({"iss": "https://id.example.evil"}, "invalid"),
        ({"iss": "https://id.exampl"}, "invalid"),
        ({"aud": "another"}, "invalid"),
        ({"nbf": time.time() + 86_400}, "invalid"),  # from when the tests are collected: a whole suite may lie between
        ({"tenant": None}, "invalid"),
        ({"tenant": "*"}, "invalid"),
        ({"tenant": {"a": 1}}, "invalid"),
    ],
)
def test_a_token_that_is_not_for_us_or_not_now(issuer: Issuer, claims: dict[str, Any], reason: str) -> None:
    assert why(known(issuer), issuer.token(**claims)) == reason


def test_clocks_may_differ_a_little(issuer: Issuer) -> None:
    assert known(issuer).grant(issuer.token(exp=time.time() - 30, nbf=time.time() + 30))
    assert known(issuer).grant(issuer.token(aud=["other", AUDIENCE]))


@pytest.mark.parametrize("token", ["", "a.b.c", "é", "....", "a" * 10_000, "eyJhbGciOiJub25lIn0.e30."])
def test_what_is_no_token(issuer: Issuer, token: str) -> None:
    assert why(known(issuer), token) in ("invalid", "unknown")


@given(st.text() | st.text("abcdefABCDEF0189-_.=", max_size=200))
def test_nothing_but_unauthenticated_comes_of_somebody_s_bytes(text: str) -> None:
    found = Tokens(RULES, PUBLISHED)
    for token in (text, "\udcff", f"eyJhbGciOiJFUzI1NiIsImtpZCI6Im9uZSJ9.{text}", f"e30.{text}.{text}"):
        with pytest.raises(Unauthenticated):
            found.grant(token)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["RSA", "EC", "P-256", "sig"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["kty", "crv", "kid", "n", "e", "x", "y", "use", "alg", "k"]), inner)
    ),
    max_leaves=12,
)


@given(JSON)
def test_a_key_set_is_one_or_none_whatever_is_in_it(value: object) -> None:
    for text in (value, {"keys": value}, {"keys": [value]}):
        with pytest.raises(ConfigInvalid):
            keys_in(json.dumps(text).encode(), "keys.json")


def test_a_signature_of_somebody_else(issuer: Issuer) -> None:
    assert why(known(issuer), issuer.token(key=ec.generate_private_key(ec.SECP256R1()))) == "invalid"
    head, claims, signature = issuer.token().split(".")
    assert why(known(issuer), f"{head}.{claims[:-2]}AA.{signature}") == "invalid"


def test_the_header_does_not_choose_how_it_is_verified(issuer: Issuer) -> None:
    """A public key as the secret of an HMAC, and no signature at all: the oldest tricks."""
    public = issuer.keys["one"].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    claims = issuer.token().split(".")[1]
    head = base64.urlsafe_b64encode(b'{"alg": "HS256", "kid": "one"}').decode().rstrip("=")
    digest = hmac.digest(public, f"{head}.{claims}".encode(), "sha256")
    signature = base64.urlsafe_b64encode(digest).decode().rstrip("=")
    assert why(known(issuer), f"{head}.{claims}.{signature}") == "invalid"
    unsigned = jwt.encode({"iss": ISSUER, "aud": AUDIENCE, "exp": time.time() + 60}, "", "none", {"kid": "one"})
    assert why(known(issuer), unsigned) == "invalid"


def test_only_what_is_allowed_verifies(issuer: Issuer) -> None:
    issuer.keys["two"] = ed25519.Ed25519PrivateKey.generate()
    assert known(issuer).grant(issuer.token("two", "EdDSA"))
    rules = TokenRules(ISSUER, AUDIENCE, frozenset({"ES256"}))
    assert why(known(issuer, rules), issuer.token("two", "EdDSA")) == "invalid"


def test_a_key_verifies_only_what_it_is_for(issuer: Issuer) -> None:
    issuer.keys["two"] = rsa.generate_private_key(65537, 2048)
    set_of = json.loads(issuer.published())
    set_of["keys"][1]["alg"] = "RS512"
    rules = TokenRules(ISSUER, AUDIENCE, frozenset({"RS256", "RS512"}))
    narrow, wide = (Tokens(rules, Given(json.dumps(one).encode())) for one in (set_of, json.loads(issuer.published())))
    assert wide.grant(issuer.token("two", "RS256"))
    assert narrow.grant(issuer.token("two", "RS512"))
    assert why(narrow, issuer.token("two", "RS256")) == "invalid"


# Verified once.


def test_a_known_token_is_not_verified_again_until_it_or_its_key_ends(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, now = Given(issuer.published()), time.time()
    found, token = Tokens(RULES, source, lambda: now), issuer.token(exp=now + 100)
    verified = []
    decode = jwt.decode

    def counted(*arguments: Any, **options: Any) -> Any:
        verified.append(1)
        return decode(*arguments, **options)

    monkeypatch.setattr(tokens.jwt, "decode", counted)  # type: ignore[attr-defined]
    for _ in range(3):
        found.grant(token)
    assert len(verified) == 1
    source.current = keys_in(issuer.published(), "test")  # the same key, published anew
    found.grant(token)
    assert len(verified) == 2
    now += 100 + tokens.LEEWAY
    assert why(found, token) == "expired"
    assert len(verified) == 2
    now -= 100
    source.current = {}
    assert why(found, token) == "unknown"


def test_no_more_tokens_are_remembered_than_that(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "KNOWN", 3)
    found = known(issuer)
    for number in range(10):
        found.grant(issuer.token(jti=str(number)))
    assert len(found._known) == 3


# Key sets.


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"", "is no JWK set"),
        (b"[]", "is no JWK set"),
        (b'{"keys": 7}', "is no JWK set"),
        (b'{"keys": []}', "has no public key with a kid"),
        (b'{"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "x"}]}', "has no public key with a kid"),
        (
            b'{"keys": [{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "kid": "x"}]}',
            "has no public key with a kid",
        ),
    ],
)
def test_a_key_set_that_is_none(text: bytes, problem: str) -> None:
    with pytest.raises(ConfigInvalid, match=problem):
        keys_in(text, "keys.json")


def test_keys_that_verify_nothing_are_left_out(issuer: Issuer) -> None:
    issuer.keys["short"] = rsa.generate_private_key(65537, 1024)
    entries = [issuer.jwk("one"), issuer.jwk("short"), issuer.jwk("one") | {"kid": "enc", "use": "enc"}]
    assert set(keys_in(json.dumps({"keys": entries}).encode(), "x")) == {"one"}
    with pytest.raises(ConfigInvalid, match="two keys with the kid 'one'"):
        keys_in(json.dumps({"keys": 2 * entries}).encode(), "x")


def test_a_file_of_keys_is_read_again(issuer: Issuer, tmp_path: Path) -> None:
    path, told, moments = tmp_path / "jwks.json", list[bool](), list[float]()
    path.write_bytes(issuer.published())
    source = FileSource(path, told.append, moments.append)
    found = Tokens(RULES, source)
    issuer.keys["two"] = ec.generate_private_key(ec.SECP256R1())
    assert why(found, issuer.token("two")) == "unknown"
    path.write_bytes(issuer.published())
    source.look()
    source.look()
    assert found.grant(issuer.token("two"))
    assert (told, len(moments)) == ([True], 2)


class Remote:
    """An issuer behind a URL. `answers` None: it gives none."""

    def __init__(self, answers: bytes | None) -> None:
        self.now = 1000.0
        self.answers = answers
        self.asked: list[float] = []
        self.told: list[bool] = []
        self.source = RemoteSource(
            "https://id.example/keys", 300, self.told.append, lambda _: None, self.fetch, lambda: self.now
        )

    def fetch(self, url: str) -> bytes:
        self.asked.append(self.now)
        if self.answers is None:
            raise OSError("no route to host")
        return self.answers

    def after(self, seconds: float) -> Mapping[str, object]:
        """What is known when it has looked each second until then."""
        until = self.now + seconds
        while self.now < until:
            self.now += 1
            self.source.look()
        return self.source.current


def test_a_url_is_asked_now_and_then_and_not_because_somebody_makes_up_keys(issuer: Issuer) -> None:
    remote = Remote(issuer.published())
    found = Tokens(RULES, remote.source)
    first = remote.source.current["one"]
    for _ in range(1200):
        assert why(found, issuer.token(key=issuer.keys["one"]).replace("eyJ", "eyK", 1)) in ("invalid", "unknown")
        with pytest.raises(Unauthenticated):
            found.grant(jwt.encode({}, issuer.keys["one"], "ES256", {"kid": "made up"}))
        remote.after(1)
    assert len(remote.asked) == 1 + 1200 // 30
    assert remote.source.current["one"] is first  # nothing has changed, and no token has to be verified again
    remote.after(3000)
    assert len(remote.asked) - 41 in (9, 10, 11)
    assert remote.told == [True]


def test_a_new_key_is_there_within_half_a_minute(issuer: Issuer) -> None:
    remote = Remote(issuer.published())
    found = Tokens(RULES, remote.source)
    issuer.keys["two"] = ec.generate_private_key(ec.SECP256R1())
    remote.answers = issuer.published()
    assert why(found, issuer.token("two")) == "unknown"
    remote.after(jwks.LEAST_PERIOD)
    assert found.grant(issuer.token("two"))


def test_keys_outlive_their_url_for_a_day(issuer: Issuer, caplog: pytest.LogCaptureFixture) -> None:
    remote = Remote(issuer.published())
    for broken in (None, b"<html>"):
        remote.answers = broken
        assert remote.after(600)
    assert remote.told.count(False) >= 20
    assert "the keys of the last time stay in use: no route to host" in caplog.text
    remote.answers = None
    remote.now += jwks.GOOD_FOR
    assert not remote.after(60)
    assert "no token is believed" in caplog.text
    remote.answers = issuer.published()
    assert remote.after(60)


def test_a_start_without_keys_goes_on(issuer: Issuer) -> None:
    remote = Remote(None)
    assert not remote.source.current
    remote.answers = issuer.published()
    assert remote.after(60)


@pytest.fixture
def web() -> Iterator[tuple[str, dict[str, tuple[int, bytes]]]]:
    """A server on loopback, and what it answers by path."""
    pages: dict[str, tuple[int, bytes]] = {}

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            code, body = pages[self.path]
            self.send_response(code)
            if code == 302:
                self.send_header("Location", "/keys")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", pages
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_url_is_read_as_it_is_and_no_other(
    issuer: Issuer, web: tuple[str, dict[str, tuple[int, bytes]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "*")
    url, pages = web
    pages |= {"/keys": (200, issuer.published()), "/moved": (302, b""), "/large": (200, bytes(jwks.MOST_BYTES + 1))}
    assert jwks.fetch_https(f"{url}/keys") == issuer.published()
    for path in ("/moved", "/large"):
        with pytest.raises(OSError, match=r"302|bytes"):
            jwks.fetch_https(f"{url}{path}")


# The settings, and the whole of it.


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"jwks": "keys.json"}, "issuer and audience"),
        ({"jwks": "http://id.example/keys", "issuer": "i", "audience": "a"}, "is no https:// URL"),
        ({"algorithms": ["HS256"]}, "HS256 is none of"),
        ({"algorithms": ["none"]}, "none is none of"),
        ({"algorithms": []}, "at least 1 item"),
        ({"refresh_seconds": 5}, "greater than or equal to 30"),
    ],
)
def test_settings_that_would_not_do(given: dict[str, object], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        JwtSection.model_validate(given)


def test_algorithms_in_a_variable() -> None:
    assert JwtSection.model_validate({"algorithms": "ES256, EdDSA"}).algorithms == ("ES256", "EdDSA")


def test_a_token_is_no_api_key_and_the_other_way_round(issuer: Issuer) -> None:
    authority = Authority(NOBODY, known(issuer))
    assert authority.of_header(f"Bearer {issuer.token()}").tenants == ("acme",)
    for shown in ("Bearer gw_1_x", "Bearer x", "Bearer"):
        with pytest.raises(Unauthenticated):
            authority.of_header(shown)
    assert authority.of_header(f"Bearer {issuer.token()}").expires < math.inf


async def test_a_server_believes_its_issuer(
    issuer: Issuer, tmp_path: Path, gateway: FakeGateway, config: Config, metrics: Metrics
) -> None:
    path = tmp_path / "jwks.json"
    path.write_bytes(issuer.published())
    section = JwtSection(jwks=str(path), issuer=ISSUER, audience=AUDIENCE)
    server = Server(gateway, config.model_copy(update={"jwt": section}), metrics)
    target = f"127.0.0.1:{(await server.start()).grpc}"
    try:
        async with AsyncClient(target, timeout=20, api_key=issuer.token(groups=["staff"])) as client:
            await client.answer("Where is my card?")
        assert gateway.questions[-1].principal == Principal("acme", frozenset({"staff"}))
        async with AsyncClient(target, timeout=20, api_key=issuer.token(scope="search")) as client:
            with pytest.raises(CallFailed, match="PERMISSION_DENIED"):
                await client.answer("Where is my card?")
        async with AsyncClient(target, timeout=20, api_key=issuer.token(aud="x")) as client:
            with pytest.raises(CallFailed, match="UNAUTHENTICATED"):
                await client.answer("Where is my card?")
    finally:
        await server.stop()
    text = metrics.render()[0].decode()
    assert f'gateway_jwks_fetched_timestamp_seconds{{issuer="{ISSUER}"}}' in text
    assert 'gateway_auth_failures_total{reason="invalid"} 1.0' in text
