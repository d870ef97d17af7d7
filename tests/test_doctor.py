"""The doctor's findings."""

from __future__ import annotations

import json
import shutil
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from click.testing import CliRunner

from gateway.cascade.standing import Doubt, Part
from gateway.cli import doctor, doctor_callers
from gateway.cli.checks import Check, Level
from gateway.cli.main import cli
from gateway.config import (
    AccessSection,
    AuditSection,
    Config,
    Device,
    DriftSection,
    Fallback,
    KnowledgeSection,
    ModelSection,
    ServerSection,
    TlsSection,
    Uncertified,
)
from gateway.doubts import Doubts
from gateway.errors import BundleInvalid, ConfigInvalid
from gateway.model import arithmetic
from gateway.model import bundle as bundles
from gateway.types import Doubter
from tests import tiny
from tests.accelerator import Accelerator


def grpc_set(version: str) -> dict[str, str]:
    return dict.fromkeys(doctor.GRPC_SET, version)


@pytest.mark.parametrize(
    ("version", "level"),
    [("1.80.1", Level.OK), ("1.85.1", Level.WARN), ("1.82.0", Level.WARN), ("1.78.0", Level.WARN), ("", Level.FAIL)],
)
def test_the_grpc_set_is_judged_by_its_minor(version: str, level: Level) -> None:
    assert doctor.grpc_set(grpc_set(version)).level is level


def test_a_mixed_grpc_set_fails() -> None:
    check = doctor.grpc_set({**grpc_set("1.80.1"), "grpcio-status": "1.85.1"})
    assert check.level is Level.FAIL
    assert "grpcio-status~=1.80.1" in check.fix


@pytest.mark.parametrize(
    ("cpu", "gpu", "level"),
    [("1.23", "", Level.OK), ("", "1.23", Level.OK), ("1.23", "1.23", Level.FAIL), ("", "", Level.FAIL)],
)
def test_exactly_one_runtime_is_right(cpu: str, gpu: str, level: Level) -> None:
    assert doctor.runtimes(cpu, gpu).level is level


def test_a_taken_port_fails() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        check = doctor.port("127.0.0.1", taken.getsockname()[1], "admin_port")
    assert check.level is Level.FAIL
    assert "--admin-port 0" in check.fix
    assert doctor.port("127.0.0.1", 0, "port").level is Level.OK


def test_what_is_open_to_a_network_is_said() -> None:
    assert doctor_callers.exposure(Config()).level is Level.OK
    with pytest.raises(ConfigInvalid, match="--insecure"):
        doctor_callers.exposure(Config(server=ServerSection(host="0.0.0.0")))
    check = doctor_callers.exposure(Config(server=ServerSection(host="0.0.0.0", insecure=True)))
    assert check.level is Level.WARN
    assert "in the clear" in check.found
    assert "any tenant" in check.found


@pytest.mark.parametrize(("days", "level"), [(13, Level.WARN), (15, Level.OK)])
def test_a_certificate_that_ends_soon(tmp_path: Path, days: int, level: Level) -> None:
    ends = datetime.now(UTC) + timedelta(days=days)
    made = trustme.CA().issue_cert("localhost", not_after=ends)
    made.private_key_pem.write_to_path(str(tmp_path / "key"))
    made.cert_chain_pems[0].write_to_path(str(tmp_path / "certificate"))
    check = doctor_callers.tls(TlsSection(certificate=tmp_path / "certificate", key=tmp_path / "key"))
    assert check.level is level


@pytest.mark.parametrize(("days", "level"), [(None, Level.OK), ("13", Level.WARN), ("15", Level.OK)])
def test_callers_whose_key_ends_soon(tmp_path: Path, days: str | None, level: Level) -> None:
    file = tmp_path / "callers.json"
    more = () if days is None else ("--days", days)
    CliRunner().invoke(cli, ["keys", "create", "one", "--file", str(file), *more])
    check = doctor_callers.callers(Config(access=AccessSection(keys=file)))
    assert check.level is level
    assert "1 callers" in check.found


ARTICLE = "---\nid: a\ntitle: A\nuri: u\nupdated: 2026-01-01\nanswer: Yes.\n---\nBody.\n"


def test_collections_are_parsed(tmp_path: Path) -> None:
    assert doctor.collection("c", tmp_path / "absent").level is Level.FAIL
    assert doctor.collection("c", tmp_path).level is Level.FAIL
    (tmp_path / "a.md").touch()
    broken = doctor.collection("c", tmp_path)
    assert (broken.level, "a.md" in broken.found) == (Level.FAIL, True)
    (tmp_path / "a.md").write_text(ARTICLE)
    assert doctor.collection("c", tmp_path) == Check("collection c", Level.OK, f"{tmp_path}: 1 documents")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write(tmp_path_factory.mktemp("bundles") / "tiny")


def test_a_certificate_for_another_is_found(bundle: Path, tmp_path: Path) -> None:
    assert doctor.bundle(ModelSection(bundle=bundle)).level is Level.OK
    folder = Path(shutil.copytree(bundle, tmp_path / "tiny"))
    tiny.rewrite(folder, tiny.manifest(folder).model_copy(update={"data": {"other.csv": "1" * 64}}))
    for uncertified, level in ((Uncertified.REFUSE, Level.FAIL), (Uncertified.SERVE, Level.WARN)):
        check = doctor.bundle(ModelSection(bundle=folder, uncertified=uncertified))
        assert (check.level, "another data" in check.found) == (level, True)


def test_a_certificate_that_a_start_finds_stale_is_a_warning(bundle: Path, tmp_path: Path) -> None:
    marks = tmp_path / "stale.json"
    config = Config(model=ModelSection(bundle=bundle), drift=DriftSection(marks=marks))
    assert doctor.standing(config.model_copy(update={"drift": DriftSection()})).level is Level.OK
    assert doctor.standing(config).level is Level.OK
    keeper = Doubts(marks, bundles.load(bundle).manifest_sha256)
    for part in (Part(tenant="acme"), None):
        keeper.keep(Doubt(Doubter.DRIFT, part, "it moved"))
    keeper.settle()
    found = doctor.standing(config)
    assert found.level is Level.WARN
    assert "is stale for tenant acme: it moved (since " in found.found
    assert found.found.endswith(" and 1 more")


@pytest.mark.parametrize(("exact", "level"), [(True, Level.OK), (False, Level.WARN)])
def test_saturated_products_are_a_warning(monkeypatch: pytest.MonkeyPatch, exact: bool, level: Level) -> None:
    monkeypatch.setattr(arithmetic, "products_are_exact", lambda: exact)
    assert doctor.products().level is level


def test_the_session_is_really_opened(bundle: Path) -> None:
    check = doctor.session(ModelSection(bundle=bundle, device=Device.CPU))
    assert check.level is Level.OK
    assert check.found == "int8 on CPUExecutionProvider for device cpu, golden answers match"


def test_a_session_that_gave_way_is_a_warning(bundle: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = Path(shutil.copytree(bundle, tmp_path / "tiny"))
    tiny.with_wrong_8_bit(folder)
    check = doctor.session(ModelSection(bundle=folder, device=Device.CPU))
    assert check.level is Level.WARN
    assert check.found.startswith("fp32 on CPUExecutionProvider for device cpu; ")
    assert "the int8 graph gives" in check.found
    assert caplog.text == ""


def test_what_a_lost_accelerator_falls_back_to_is_opened_too(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Accelerator(monkeypatch)
    check = doctor.session(ModelSection(bundle=bundle, device=Device.CUDA))
    assert check.level is Level.OK
    assert "fp16 on CPUExecutionProvider for device cuda, if that is lost int8 on CPUExecutionProvider" in check.found
    without = doctor.session(ModelSection(bundle=bundle, device=Device.CUDA, fallback=Fallback.NONE))
    assert "lost" not in without.found


def test_an_accelerator_without_a_fallback_is_a_warning(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Accelerator(monkeypatch)
    folder = Path(shutil.copytree(bundle, tmp_path / "tiny"))
    now = tiny.manifest(folder)
    tiny.rewrite(folder, now.model_copy(update={"variants": {"fp16": now.variants["fp16"]}}))
    check = doctor.session(ModelSection(bundle=folder, device=Device.CUDA))
    assert (check.level, "nothing to fall back to" in check.found) == (Level.WARN, True)
    assert "model.fallback = 'none'" in check.fix


def test_the_default_collection_is_looked_at_only_where_it_would_be_served(bundle: Path) -> None:
    config = Config(model=ModelSection(bundle=bundle))
    assert [check.found[:5] for check in doctor.collections(config)] == ["none:"]
    named = Config(model=ModelSection(bundle=bundle), knowledge=KnowledgeSection(collections={"c": Path("absent")}))
    assert [check.level for check in doctor.collections(named)] == [Level.FAIL]


def test_the_command_takes_bundle_and_device(bundle: Path) -> None:
    result = CliRunner().invoke(cli, ["doctor", "--json", "--bundle", str(bundle), "--device", "cpu"])
    found = {check["name"]: check["found"] for check in json.loads(result.output)}
    assert str(bundle) in found["bundle"]
    assert found["session"].startswith("int8 on CPU")


@pytest.mark.parametrize("error", [BundleInvalid("model.onnx: changed"), OSError("gone")])
def test_an_engine_that_fails_is_a_finding(error: Exception) -> None:
    def look() -> Check:
        raise error

    check = doctor.guarded("bundle", look)
    assert check.level is Level.FAIL
    assert str(error) in check.found


def test_few_files_are_a_warning() -> None:
    assert doctor.files(1024).level is Level.WARN
    assert doctor.files(65_536).level is Level.OK
    assert doctor.files(-1).level is Level.OK


def test_an_old_python_fails() -> None:
    assert doctor.python((3, 10)).level is Level.FAIL


def test_an_audit_log_needs_a_folder_and_room(tmp_path: Path) -> None:
    assert doctor.audit(AuditSection(), 1).found == "none is kept"
    fine = doctor.audit(AuditSection(folder=tmp_path / "not" / "yet", max_mb=64), 1)
    assert (fine.level, "at most 64 MB" in fine.found) == (Level.OK, True)
    large = doctor.audit(AuditSection(folder=tmp_path, max_mb=9_000_000), 100)
    assert (large.level, "may take 900,000,000 MB" in large.found) == (Level.WARN, True)
    (tmp_path / "file").touch()
    assert doctor.audit(AuditSection(folder=tmp_path / "file" / "audit"), 1).level is Level.FAIL
