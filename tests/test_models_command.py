"""`gateway models`: what is shown of versions, what is promoted, and what is refused and why."""

from __future__ import annotations

import csv
import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gateway.cli.main import cli
from gateway.model import versions
from gateway.model.bundle import ParentPart
from gateway.registry import promotion
from tests import tiny

INLINE = tuple(map(tiny._inline, tiny.LABELS))
"""Labels that stand for no document, so that none is needed."""
LOOSE, STRICT = (0.5, 0.9), (0.545, 0.9)
"""Thresholds at which the tiny model answers about half of its questions, and few of them."""


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["models", *map(str, arguments)])


@pytest.fixture(scope="module")
def alike(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """models/tiny with two versions that answer alike."""
    made = tmp_path_factory.mktemp("alike") / "models"
    for version in ("1", "2"):
        tiny.certify(tiny.write(made / "tiny" / version, version=version, labels=INLINE), alone=LOOSE)
    return made


@pytest.fixture
def root(alike: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed."""
    return Path(shutil.copytree(alike, tmp_path / "models"))


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    """The tiny model says green to all, where it says anything."""
    path = tmp_path / "frozen.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("text", "category"), *((text, "green") for text in tiny.questions(100, 3))])
    return path


def promote(root: Path, *arguments: str | Path) -> Result:
    return run("promote", *arguments, "--models", root)


def current(root: Path) -> str:
    found = versions.read(root / "tiny")
    return found.current if found else ""


class Gateway:
    """The admin port of a running gateway: what it was asked, and what it answers."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []
        self.status: dict[str, Any] = {}
        self.refuses = ""
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                gateway.asked.append((self.path, body))
                is_refused = gateway.refuses and self.path == "/bundle"
                self._answer(422, {"error": gateway.refuses}) if is_refused else self._answer(200, {})

            def do_GET(self) -> None:
                self._answer(200, gateway.status)

            def _answer(self, code: int, body: dict[str, Any]) -> None:
                self.send_response(code)
                self.end_headers()
                self.wfile.write(json.dumps(body).encode())

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.server.server_port}"


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    made = Gateway()
    serving = threading.Thread(target=made.server.serve_forever)
    serving.start()
    yield made
    made.server.shutdown()
    serving.join()
    made.server.server_close()


def test_versions_are_listed_with_what_they_say(root: Path) -> None:
    parent = ParentPart(name="tiny", version="1", manifest_sha256="0" * 64)
    tiny.certify(tiny.write(root / "tiny" / "2", version="2", labels=INLINE, parent=parent), alone=STRICT)
    assert promote(root, "tiny", "1").exit_code == 0
    one, two = json.loads(run("list", "--models", root, "--json").output)
    assert (one["state"], two["state"]) == ("serves", "")
    assert one["facts"]["lineage"]["parent"] is None
    assert two["facts"]["lineage"]["parent"]["version"] == "1"
    assert two["facts"]["metrics"]["accuracy"] == 0.9
    given = two["facts"]["certificate"]["variants"]["int8"]["alone"]
    assert (given["status"], given["threshold"], given["coverage"]) == ("valid", 0.545, 0.75)
    shown = run("list", "tiny", "--models", root).output
    (row,) = (line.split() for line in shown.splitlines() if line.startswith(" tiny/1"))
    assert row[:2] == ["tiny/1", "serves"]
    assert "90.0%" in row


def test_a_damaged_version_is_listed_with_what_is_wrong(root: Path) -> None:
    (root / "tiny" / "2" / "weights.bin").write_bytes(b"half")
    result = run("list", "--models", root)
    assert result.exit_code == 0
    assert ["tiny/2", "damaged"] in [line.split() for line in result.output.splitlines()]
    assert "weights.bin was changed" in result.output


def test_a_promoted_version_that_is_gone_is_listed(root: Path) -> None:
    promote(root, "tiny", "2")
    (root / "tiny" / "2").rename(root / "elsewhere")
    found = json.loads(run("list", "tiny", "--models", root, "--json").output)
    assert [(one["version"], one["state"]) for one in found] == [("1", ""), ("2", "serves")]
    assert "has no manifest.json any more" in found[1]["problem"]


def test_no_bundle_is_an_error(tmp_path: Path) -> None:
    assert run("list", "--models", tmp_path).exit_code == 2


def test_versions_that_are_alike_differ_in_nothing(root: Path) -> None:
    assert "say the same of themselves" in run("diff", "tiny/1", "tiny/2", "--models", root).output


def test_a_difference_names_what_is_not_the_same(root: Path) -> None:
    labels = (*INLINE[:2], tiny._inline("violet"))
    tiny.write(root / "tiny" / "2", labels=labels, data={"x.csv": "1"}, recipe={"data": {"seed": 8}}, golden=())
    found = json.loads(run("diff", "tiny/1", "tiny/2", "--models", root, "--json").output)
    assert found["labels"] == {"added": ["violet"], "removed": ["blue"], "documents": {}}
    assert found["data"] == {"x.csv": [None, "1"]}
    assert found["recipe"] == {"data.seed": [None, 8]}
    assert found["certificate"]["variants.int8.alone.threshold"] == [0.5, 0.8]
    shown = run("diff", "tiny/1", "tiny/2", "--models", root).output
    assert "labels added" in shown
    assert "violet" in shown


def test_a_difference_on_questions_is_paired(root: Path, questions: Path) -> None:
    tiny.certify(root / "tiny" / "2", alone=STRICT)
    arguments = ("diff", "tiny/1", "tiny/2", "--models", root, "--questions", questions)
    found = json.loads(run(*arguments, "--json").stdout)["questions"]
    assert found["forgotten"] == ["green"]
    assert found["lost"] > 20
    assert found["won"] == 0
    assert found["right"]["high"] < -0.1
    shown = run(*arguments).output
    assert "forgotten" in shown


def test_a_version_is_promoted_and_rolled_back(root: Path) -> None:
    assert promote(root, "tiny", "1", "--why", "the first").exit_code == 0
    result = promote(root, "tiny", "2")
    assert result.exit_code == 0, result.output
    assert "tiny/2 is promoted, in the place of 1" in result.output
    assert versions.serving(root / "tiny") == root / "tiny" / "2"
    result = run("rollback", "tiny", "--models", root, "--why", "it was worse")
    assert result.exit_code == 0, result.output
    found = versions.read(root / "tiny")
    assert found is not None
    assert [(one.action, one.version, one.why) for one in found.history] == [
        ("promote", "1", "the first"),
        ("promote", "2", ""),
        ("rollback", "1", "it was worse"),
    ]
    assert run("rollback", "tiny", "--models", root).exit_code == 4


def test_a_folder_can_be_named_instead(root: Path) -> None:
    assert run("promote", root / "tiny" / "1").exit_code == 0
    assert current(root) == "1"
    assert run("promote", root / "tiny").exit_code == 2


def test_promoting_it_again_records_nothing(root: Path) -> None:
    promote(root, "tiny", "1")
    result = promote(root, "tiny", "1")
    assert "is what is promoted already" in result.output
    found = versions.read(root / "tiny")
    assert found is not None
    assert len(found.history) == 1


def test_a_damaged_version_is_never_promoted(root: Path) -> None:
    (root / "tiny" / "1" / "weights.bin").write_bytes(b"half")
    result = promote(root, "tiny", "1", "--force")
    assert result.exit_code == 4
    assert "weights.bin was changed" in result.output
    assert "--force" not in result.output
    assert not current(root)


def test_a_missing_version_is_named(root: Path) -> None:
    result = promote(root, "tiny", "7")
    assert result.exit_code == 4
    assert "no bundle in" in result.output


def test_wrong_golden_answers_are_refused(root: Path) -> None:
    folder = root / "tiny" / "1"
    wrong = [one.model_copy(update={"label": "red"}) for one in tiny.manifest(folder).golden]
    tiny.write(folder, labels=INLINE, golden=tuple(wrong))
    result = promote(root, "tiny", "1")
    assert result.exit_code == 4
    assert "golden: no session for device 'cpu'" in result.output


def test_a_certificate_of_another_bundle_is_refused(root: Path) -> None:
    folder = root / "tiny" / "1"
    changed = tiny.manifest(folder)
    tiny.rewrite(folder, changed.model_copy(update={"data": {"other.csv": "1"}}))
    result = promote(root, "tiny", "1")
    assert result.exit_code == 4
    assert "certificate was given for another data" in result.output
    result = promote(root, "tiny", "1", "--uncertified")
    assert result.exit_code == 0, result.output
    assert "waived   certificate" in result.output


def test_a_certificate_that_promises_nothing_is_refused(root: Path) -> None:
    folder = root / "tiny" / "1"
    given = tiny.certificate(folder)
    for which in ("alone", "informed"):
        given = tiny.insufficient(given, which, 400)
    tiny.write_certificate(folder, given)
    result = promote(root, "tiny", "1")
    assert result.exit_code == 4
    assert "INSUFFICIENT" in result.output


def test_a_label_that_is_missing_is_refused_and_can_be_forced(root: Path) -> None:
    promote(root, "tiny", "1")
    folder = root / "tiny" / "2"
    tiny.write(folder, labels=(*INLINE[:2], tiny._inline("violet")), golden=())
    result = promote(root, "tiny", "2")
    assert result.exit_code == 4
    assert "labels: blue of tiny/1 are not among its labels" in result.output
    assert promote(root, "tiny", "2", "--force", "--json").exit_code == 0
    found = versions.read(root / "tiny")
    assert found is not None
    assert found.now.forced
    assert [one.outcome for one in found.now.gates if one.name == "labels"] == ["failed"]


def test_one_that_is_as_good_passes_on_frozen_questions(root: Path, questions: Path) -> None:
    promote(root, "tiny", "1")
    result = promote(root, "tiny", "2", "--questions", questions)
    assert result.exit_code == 0, result.output
    assert "passed   questions: 100 questions: +0.00 points right" in result.output
    assert "passed   intents" in result.output


def test_one_that_is_worse_is_refused(root: Path, questions: Path) -> None:
    promote(root, "tiny", "1")
    tiny.certify(root / "tiny" / "2", alone=STRICT)
    result = promote(root, "tiny", "2", "--questions", questions, "--json")
    assert result.exit_code == 4
    assert "is not shown: ask more, or allow --margin" in result.output
    assert "intents: green (" in result.output
    assert current(root) == "1"
    result = promote(root, "tiny", "2", "--questions", questions, "--margin", "1")
    assert result.exit_code == 4, "an intent that is forgotten is no matter of a margin"
    assert promote(root, "tiny", "2", "--against", "tiny/2", "--questions", questions).exit_code == 0


def test_labels_that_stand_for_documents_need_them(root: Path, questions: Path) -> None:
    tiny.write(root / "tiny" / "1")
    result = run("diff", "tiny/1", "tiny/2", "--models", root, "--questions", questions)
    assert result.exit_code == 2
    assert "name --knowledge" in result.output


def test_what_serves_and_is_damaged_cannot_be_compared_with(root: Path) -> None:
    promote(root, "tiny", "1")
    (root / "tiny" / "1" / "weights.bin").unlink()
    result = promote(root, "tiny", "2")
    assert result.exit_code == 4
    assert "labels: not to be compared with" in result.output
    assert promote(root, "tiny", "2", "--force").exit_code == 0


def test_a_rollback_to_what_was_changed_is_refused(root: Path) -> None:
    promote(root, "tiny", "1")
    promote(root, "tiny", "2")
    tiny.certify(root / "tiny" / "1", alone=STRICT)
    result = run("rollback", "tiny", "--models", root)
    assert result.exit_code == 2
    assert "tiny/1 was changed since it was promoted" in result.output
    assert current(root) == "2"


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (FileNotFoundError(2, "none"), 2, "no such folder"),
        (PermissionError(13, "denied"), 1, "cannot be written (denied)"),
    ],
)
def test_where_nothing_can_be_recorded_is_named(
    root: Path, monkeypatch: pytest.MonkeyPatch, error: OSError, code: int, said: str
) -> None:
    def refused(_: Path) -> None:
        raise error

    monkeypatch.setattr(promotion, "locked", refused)
    for arguments in (("promote", "tiny", "1"), ("rollback", "tiny")):
        result = run(*arguments, "--models", root)
        assert (result.exit_code, said in result.output, str(root / "tiny") in result.output) == (code, True, True)


def test_two_promotions_at_once_are_none(root: Path) -> None:
    with promotion.locked(root / "tiny"):
        result = promote(root, "tiny", "1")
    assert result.exit_code == 4
    assert "another promotion or rollback goes on" in result.output


def test_a_running_gateway_swaps_too(root: Path, gateway: Gateway) -> None:
    promote(root, "tiny", "1")
    assert promote(root, "tiny", "2", "--server", gateway.address).exit_code == 0
    assert run("rollback", "tiny", "--models", root, "--server", gateway.address).exit_code == 0
    folders = [str(root / "tiny" / version) for version in ("2", "1")]
    assert gateway.asked == [("/bundle", {"folder": folder}) for folder in folders]


def test_what_a_gateway_refuses_is_not_recorded(root: Path, gateway: Gateway) -> None:
    promote(root, "tiny", "1")
    gateway.refuses = "cannot serve the collections banking"
    result = promote(root, "tiny", "2", "--server", gateway.address)
    assert result.exit_code == 4
    assert "cannot serve the collections banking" in result.output
    assert current(root) == "1"


def test_a_gateway_that_is_not_there_changes_nothing(root: Path) -> None:
    result = promote(root, "tiny", "1", "--server", "127.0.0.1:1")
    assert result.exit_code == 3
    assert not current(root)


@pytest.mark.parametrize(
    ("answers", "code", "said"),
    [
        ({"same": 3, "other_route": 1}, 0, "passed   shadow: 4 questions: 3 same, 1 other route"),
        ({"same": 3, "failed": 1}, 4, "shadow: 4 questions: 3 same, 1 failed"),
        ({}, 4, "shadow: saw no question"),
    ],
)
def test_a_shadow_comes_first(root: Path, gateway: Gateway, answers: dict[str, int], code: int, said: str) -> None:
    gateway.status = {"shadow": {"answers": answers}}
    result = promote(root, "tiny", "1", "--server", gateway.address, "--shadow", "0.5", "--shadow-seconds", "0")
    assert result.exit_code == code
    assert said in result.output
    expected = [("/shadow", {"folder": str(root / "tiny" / "1"), "share": 0.5}), ("/shadow", {"end": True})]
    assert gateway.asked[:2] == expected
    assert len(gateway.asked) == (2 if code else 3)


def test_a_shadow_needs_a_gateway(root: Path) -> None:
    assert promote(root, "tiny", "1", "--shadow", "0.5").exit_code == 2
