"""Scenarios: the shipped ones fit their schema, broken ones are named, and a plan is what they say."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from loadtest import questions, scenarios
from loadtest.plan import plan
from loadtest.scenarios import ScenarioInvalid

SHIPPED = (
    "smoke", "slo", "overload", "spike", "mixed-tenants", "noisy-neighbour", "soak", "reload", "drain", "impatient"
)  # fmt: skip


def written(folder: Path, text: str) -> str:
    path = folder / "made.toml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_ones_make_a_plan(name: str) -> None:
    scenario = scenarios.read(name)
    made = plan(scenario, ["a", "b"], capacity=50)
    assert scenario.name == name
    assert made.seconds > made.warmup
    assert len(made.at) > 0
    assert all(caller.seconds > 0 for caller in made.callers)


def test_all_that_is_shipped_is_tested() -> None:
    assert set(scenarios.shipped()) == set(SHIPPED)


def test_the_overload_is_two_five_and_ten_times_the_capacity() -> None:
    made = plan(scenarios.read("overload"), ["a"], capacity=100)
    for number, caller in enumerate(made.callers):
        if caller.name in ("2 x", "5 x", "10 x"):
            times = made.at[made.load == number]
            multiple = float(caller.name.partition(" ")[0])
            assert len(times) / caller.seconds == pytest.approx(100 * multiple, rel=0.1)


MADE = """
summary = "two loads"
warmup_seconds = 1
seed = 3
[[load]]
name = "even"
process = "constant"
timeout_ms = 80
tenant = "acme"
criticality = "sheddable"
pieces = [{ seconds = 4, rate = 10 }]
[[load]]
name = "late"
start_seconds = 2
pieces = [{ seconds = 3, rate = 100 }]
"""


def test_a_plan_merges_the_loads_in_time(tmp_path: Path) -> None:
    scenario = scenarios.read(written(tmp_path, MADE))
    made = plan(scenario, ["a", "b", "c"])
    assert np.all(np.diff(made.at) >= 0)
    assert made.at[made.load == 0] == pytest.approx(np.arange(40) / 10)
    assert made.at[made.load == 1].min() >= 2
    assert made.seconds == 5
    even, late = made.callers
    assert (even.timeout, even.seconds, late.seconds) == (0.08, 3, 3)
    assert even.metadata == (("x-tenant", "acme"), ("x-criticality", "sheddable"))
    assert late.metadata == ()
    assert set(made.question.tolist()) == {0, 1, 2}


def test_a_plan_is_the_same_again_for_the_same_seed(tmp_path: Path) -> None:
    scenario = scenarios.read(written(tmp_path, MADE))
    first, again = plan(scenario, ["a", "b"]), plan(scenario, ["a", "b"])
    assert np.array_equal(first.at, again.at)
    assert np.array_equal(first.question, again.question)
    other = plan(scenario.model_copy(update={"seed": 4}), ["a", "b"])
    assert not np.array_equal(first.question[:40], other.question[:40])


def test_loads_of_one_rate_do_not_ask_at_the_same_instants(tmp_path: Path) -> None:
    loads = "".join(f'[[load]]\nname = "{name}"\npieces = [{{ seconds = 9, rate = 9 }}]\n' for name in "ab")
    made = plan(scenarios.read(written(tmp_path, f'summary = "x"\n{loads}')), ["a"])
    assert len(np.unique(made.at)) == len(made.at)


def test_relative_rates_are_multiples_of_the_capacity(tmp_path: Path) -> None:
    text = 'summary = "x"\nunit = "capacity"\n[[load]]\nname = "a"\npieces = [{ seconds = 10, rate = 2 }]\n'
    scenario = scenarios.read(written(tmp_path, text.replace("pieces", 'process = "constant"\npieces')))
    assert len(plan(scenario, ["a"], capacity=30).at) == 600
    with pytest.raises(ScenarioInvalid, match="multiples of a capacity"):
        plan(scenario, ["a"])


def test_a_trace_lies_beside_its_scenario(tmp_path: Path) -> None:
    (tmp_path / "monday.txt").write_text("100.5\n108\n101\n")
    text = 'summary = "x"\n[[load]]\nname = "a"\ntrace = "monday.txt"\n'
    made = plan(scenarios.read(written(tmp_path, text)), ["a"])
    assert made.at.tolist() == [0, 0.5, 7.5]
    (tmp_path / "monday.txt").write_text("now")
    with pytest.raises(ScenarioInvalid, match=r"monday\.txt: line 1"):
        plan(scenarios.read(written(tmp_path, text)), ["a"])


LOAD = '[[load]]\nname = "a"\npieces = [{ seconds = 9, rate = 9 }]\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("summary = ", "made.toml: Invalid value"),
        (LOAD, "summary: Field required"),
        ('summary = "x"\nload = []', "load: "),
        (f'summary = "x"\n{LOAD}{LOAD}', "two loads have the same name"),
        (f'summary = "x"\n{LOAD}tenat = "b"', "load.0.tenat: Extra"),
        ('summary = "x"\n[[load]]\nname = "a"', "load.0: needs either pieces or a trace"),
        ('summary = "x"\n[[load]]\nname = "a"\npieces = [{ seconds = 0, rate = 1 }]', "load.0.pieces.0.seconds"),
        ('summary = "x"\nunit = "capacity"\n[[load]]\nname = "a"\ntrace = "b"', "a trace has its own times"),
        (f'summary = "x"\n{LOAD}[[events]]\nat = 7\ndo = "stop"', "events.0.do"),
        (f'summary = "x"\n{LOAD}[[events]]\nat = 3\ndo = "swap"', "after the warm-up"),
        (f'summary = "x"\n{LOAD}' + '[[events]]\nat = 7\ndo = "drain"\n' * 2, "nothing can happen to a server"),
    ],
)
def test_a_broken_scenario_is_named_with_its_key(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ScenarioInvalid) as caught:
        scenarios.read(written(tmp_path, text))
    assert message in str(caught.value)


def test_an_unknown_scenario_lists_those_there_are() -> None:
    with pytest.raises(ScenarioInvalid, match="there are drain, impatient, mixed-tenants"):
        scenarios.read("smok")


def test_an_event_after_the_end_is_refused(tmp_path: Path) -> None:
    scenario = scenarios.read(written(tmp_path, f'summary = "x"\n{LOAD}[[events]]\nat = 9\ndo = "swap"'))
    with pytest.raises(ScenarioInvalid, match="lasts 9 s, and has an event at 9 s"):
        plan(scenario, ["a"])


def test_nothing_but_warm_up_is_refused(tmp_path: Path) -> None:
    text = f'summary = "x"\nwarmup_seconds = 9\n{LOAD}'
    with pytest.raises(ScenarioInvalid, match="no longer than its warm-up"):
        plan(scenarios.read(written(tmp_path, text)), ["a"])


def test_questions_come_from_all_files(tmp_path: Path) -> None:
    first, second = tmp_path / "a.csv", tmp_path / "b.txt"
    first.write_text("text,category\nwhy?,x\n")
    second.write_text("when?\nwhere?\n")
    found = questions.read([first, second])
    assert found.texts == ["why?", "when?", "where?"]
    assert re.fullmatch(r"a\.csv \(sha256 [0-9a-f]{12}\), b\.txt \(sha256 [0-9a-f]{12}\)", found.source)


def test_the_shipped_questions_are_many_and_as_mixed_as_real_ones() -> None:
    found = questions.read()
    words = sorted(len(text.split()) for text in found.texts)
    assert len(set(found.texts)) == len(found.texts) == 200
    assert (words[0], words[100]) == (3, 11)
    assert 50 < words[-1] <= 60
    assert found.source.startswith("questions.txt (sha256 ")
