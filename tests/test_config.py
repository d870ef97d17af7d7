"""Settings: precedence, bounds, and errors that say what to change."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config import Config, Device, DriftMode, Fallback, load
from gateway.errors import ConfigInvalid
from gateway.types import Policy


def written(folder: Path, text: str) -> Path:
    file = folder / "gateway.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_defaults_are_valid_and_frozen() -> None:
    config = load()
    assert config == Config()
    assert config.server.port == 50051
    assert config.knowledge.default == "banking"
    with pytest.raises(ValueError, match="frozen"):
        config.server.port = 1


def test_a_batch_is_of_the_device_s_size_unless_it_is_set() -> None:
    assert load().model.max_batch_tokens == 0
    assert load(environment={"GATEWAY_MODEL__MAX_BATCH_TOKENS": "64"}).model.max_batch_tokens == 64
    with pytest.raises(ConfigInvalid, match="at least 64, or 0 for the device's own"):
        load(environment={"GATEWAY_MODEL__MAX_BATCH_TOKENS": "63"})


def test_a_lost_device_has_a_fallback_unless_it_is_switched_off() -> None:
    assert load().model.fallback is Fallback.CPU
    assert load(environment={"GATEWAY_MODEL__FALLBACK": "none"}).model.fallback is Fallback.NONE


def test_nobody_has_a_quota_unless_it_is_set() -> None:
    assert load().admission.tenant_rate == 0
    assert load(environment={"GATEWAY_ADMISSION__TENANT_RATE": "2.5"}).admission.tenant_rate == 2.5


def test_environment_beats_file_and_flags_beat_environment(tmp_path: Path) -> None:
    file = written(tmp_path, "[server]\nport = 1\nadmin_port = 1\nmax_in_flight = 1\n")
    config = load(
        file,
        {"GATEWAY_SERVER__PORT": "2", "GATEWAY_SERVER__ADMIN_PORT": "2"},
        {"server.port": 3, "server.host": None},
    )
    assert (config.server.port, config.server.admin_port, config.server.max_in_flight) == (3, 2, 1)


def test_file_can_be_named_by_the_environment(tmp_path: Path) -> None:
    file = written(tmp_path, "[cascade]\ndefault_policy = 'ensemble'\n")
    assert load(environment={"GATEWAY_CONFIG": str(file)}).cascade.default_policy is Policy.ENSEMBLE


def test_collections_can_come_from_file_or_environment(tmp_path: Path) -> None:
    file = written(tmp_path, "[knowledge.collections]\nlegal = 'index/legal'\n")
    assert load(file).knowledge.collections == {"legal": Path("index/legal")}
    both = load(file, {"GATEWAY_KNOWLEDGE__COLLECTIONS__TAX": "index/tax"})
    assert set(both.knowledge.collections) == {"legal", "tax"}
    assert both.knowledge.default == "legal"


def test_rates_of_tenants_are_a_table(tmp_path: Path) -> None:
    file = written(tmp_path, "[admission.tenant_rates]\nacme = 50\n")
    assert load(file).admission.tenant_rates == {"acme": 50.0}
    assert load(file, {"GATEWAY_ADMISSION__TENANT_RATES__BETA": "2"}).admission.tenant_rates["beta"] == 2.0
    with pytest.raises(ConfigInvalid, match=r"admission\.tenant_rates\.acme = -1"):
        load(written(tmp_path, "[admission.tenant_rates]\nacme = -1\n"))


@pytest.mark.parametrize("way", ["file", "environment", "flag"])
def test_there_may_be_no_collection(tmp_path: Path, way: str) -> None:
    text = "[knowledge]\ncollections = {}" if way == "file" else "[knowledge.collections]\nlegal = 'index/legal'\n"
    environment = {"GATEWAY_KNOWLEDGE__COLLECTIONS": ""} if way == "environment" else {}
    config = load(written(tmp_path, text), environment, {"knowledge.collections": {} if way == "flag" else None})
    assert (config.knowledge.collections, config.knowledge.default, config.knowledge.is_default) == ({}, "", False)


def test_a_flag_for_no_collection_beats_the_environment(tmp_path: Path) -> None:
    file = written(tmp_path, "[knowledge]\ncollections = {}")
    added = {"GATEWAY_KNOWLEDGE__COLLECTIONS__TAX": "index/tax"}
    assert load(file, added).knowledge.collections == {"tax": Path("index/tax")}
    assert load(file, added, {"knowledge.collections": {}}).knowledge.collections == {}


def test_collections_that_nobody_named_are_known_as_such() -> None:
    assert load().knowledge.is_default
    assert load(environment={"GATEWAY_KNOWLEDGE__DEFAULT_COLLECTION": "banking"}).knowledge.is_default


def test_variables_without_a_double_underscore_are_left_alone() -> None:
    assert load(environment={"GATEWAY_SERVER_PORT": "tcp://10.0.0.1:50051", "GATEWAY_DATA": "/data"}) == Config()


def test_device_is_parsed() -> None:
    assert load(flags={"model.device": "cpu"}).model.device is Device.CPU


@pytest.mark.parametrize(
    ("environment", "parts"),
    [
        (
            {"GATEWAY_SERVER__PORT": "abc"},
            ["server.port", "'abc'", "environment variable GATEWAY_SERVER__PORT", "integer"],
        ),
        ({"GATEWAY_SERVER__PORT": "70000"}, ["server.port", "65535"]),
        ({"GATEWAY_SERVER__PROT": "1"}, ["server.prot", "did you mean port?"]),
        ({"GATEWAY_SEVER__PORT": "1"}, ["sever", "did you mean server?"]),
        ({"GATEWAY_SERVER__PORT__X": "1"}, ["server.port holds no keys"]),
        ({"GATEWAY_MODEL__DEVICE": "tpu"}, ["model.device", "'tpu'", "'auto', 'cpu' or 'cuda'"]),
        ({"GATEWAY_SERVER__DEFAULT_TIMEOUT_MS": "20000"}, ["default_timeout_ms is 20000", "max_timeout_ms only 10000"]),
        ({"GATEWAY_KNOWLEDGE__DEFAULT_COLLECTION": "nope"}, ["'nope'", "banking"]),
        ({"GATEWAY_ADMISSION__TENANT_RATE": "-1"}, ["admission.tenant_rate", "greater than or equal to 0"]),
        ({"GATEWAY_ADMISSION__TENANT_RATE": "inf"}, ["admission.tenant_rate", "finite"]),
        ({"GATEWAY_ADMISSION__TENANT_SHARE": "0"}, ["admission.tenant_share", "greater than 0"]),
        ({"GATEWAY_ADMISSION__TENANT_BURST": "5"}, ["tenant_burst is 5", "tenant_rate"]),
    ],
)
def test_errors_name_key_value_origin_and_fix(environment: dict[str, str], parts: list[str]) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        load(environment=environment)
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("[server]\nport = ", ["gateway.toml", "is not TOML"]),
        ("[sever]\nport = 1", ["sever", "did you mean server?", "gateway.toml"]),
        ("[server]\nhots = 'x'", ["server.hots", "did you mean host?"]),
        ("server = 3", ["server", "3", "gateway.toml"]),
        ("[knowledge]\ncollections = 5", ["knowledge.collections", "5", "must be a table", "COLLECTIONS__TAX"]),
        ("[knowledge]\ncollections = {}\ndefault_collection = 'x'", ["default_collection is 'x'"]),
    ],
)
@pytest.mark.parametrize("flags", [{}, {"server.port": 1}])
def test_files_are_checked(tmp_path: Path, text: str, parts: list[str], flags: dict[str, object]) -> None:
    environment = {"GATEWAY_KNOWLEDGE__COLLECTIONS__TAX": "index/tax"} if "= 5" in text else {}
    with pytest.raises(ConfigInvalid) as caught:
        load(written(tmp_path, text), environment, flags)
    for part in parts:
        assert part in str(caught.value)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="cannot be read"):
        load(tmp_path / "absent.toml")


def test_flags_are_named_in_errors() -> None:
    with pytest.raises(ConfigInvalid, match="flag --policy"):
        load(flags={"cascade.default_policy": "guess"})


@pytest.mark.parametrize(("key", "value"), [("false_alarms", "0"), ("false_alarms", "2"), ("parts", "-1")])
def test_drift_has_bounds(key: str, value: str) -> None:
    assert load(environment={"GATEWAY_DRIFT__MODE": "off"}).drift.mode is DriftMode.OFF
    with pytest.raises(ConfigInvalid, match=f"drift.{key}"):
        load(environment={f"GATEWAY_DRIFT__{key.upper()}": value})


def test_an_audit_log_is_kept_only_where_somebody_names_its_folder() -> None:
    assert load().audit.folder is None
    config = load(environment={"GATEWAY_AUDIT__FOLDER": "audit", "GATEWAY_AUDIT__TEXT_TENANTS": "acme, other"})
    assert (config.audit.folder, config.audit.text_tenants) == (Path("audit"), frozenset({"acme", "other"}))
    assert Config.model_validate_json(config.model_dump_json(exclude_unset=True)) == config
    for strange in ('["acme"]', "acme other", "acme,*x"):  # no caller can be called so: nobody's texts would be kept
        with pytest.raises(ConfigInvalid, match=r"audit\.text_tenants"):
            load(environment={"GATEWAY_AUDIT__TEXT_TENANTS": strange})
    assert load(environment={"GATEWAY_AUDIT__TEXT_TENANTS": "*"}).audit.text_tenants == {"*"}
    with pytest.raises(ConfigInvalid, match="at least two segments"):
        load(environment={"GATEWAY_AUDIT__SEGMENT_MB": "600"})
