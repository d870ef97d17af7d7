"""A load is let in as any caller is: over TLS, with a key that nobody sees among the arguments."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme
from click.testing import CliRunner, Result

from gateway.client import Tls
from gateway.config import AccessSection, Config
from gateway.rpc.server import Ports
from loadtest.__main__ import main
from loadtest.protocols import GATEWAY, PROTOCOLS, STREAM
from loadtest.targets import OPEN, Access
from tests.callers import created
from tests.test_tls import Files

KEY = "gw_00000000_hunter2hunter2hunter2hunter2"


@pytest.fixture
def files(tmp_path: Path) -> Files:
    made = Files(tmp_path, trustme.CA())
    made.issue()
    made.authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return made


@pytest.fixture
def key(tmp_path: Path) -> str:
    return created(tmp_path / "callers.json")


@pytest.fixture
def config(config: Config, tmp_path: Path, key: str, files: Files) -> Config:
    access = AccessSection(keys=tmp_path / "callers.json")
    return config.model_copy(update={"access": access, "tls": files.section})


@pytest.mark.parametrize("protocol", [GATEWAY, STREAM])
async def test_with_tls_and_a_key_it_is_answered(protocol: str, ports: Ports, key: str, tmp_path: Path) -> None:
    tls = Tls(root=tmp_path / "ca.pem")
    for access, status in ((Access(tls, key), "OK"), (Access(tls), "UNAUTHENTICATED"), (OPEN, "UNAVAILABLE")):
        target = PROTOCOLS[protocol](f"localhost:{ports.grpc}", 1, access)
        assert (await target.send("why?", 10, ())).status == status
        await target.close()


def run(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(main, ["run", "smoke", "--target", *arguments], env=environment)


def test_a_key_does_not_travel_openly() -> None:
    found = run("gateway.example:443", "--i-own-this-target", GATEWAY_API_KEY=KEY)
    assert found.exit_code
    assert "without TLS" in found.output
    assert KEY not in found.output


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    found = run("127.0.0.1:1", "--ca", str(tmp_path / "none.pem"))
    assert found.exit_code
    assert "none.pem: there is no such file" in found.output
