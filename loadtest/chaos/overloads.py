"""Tests 1 and 2: load that is within the capacity, and load that is far beyond it."""

from __future__ import annotations

from collections.abc import Iterable

from loadtest import questions, subjects, summary, trials
from loadtest.chaos.verdicts import Terms, Verdict
from loadtest.experiments import CHANNELS
from loadtest.recorder import DIGITS, SECOND_DIGITS, Latencies, Second
from loadtest.results import Run
from loadtest.subjects import Opened, opened
from loadtest.targets import OK

SHARE = 0.7
"""Of the capacity."""
HARDER = 1.15
"""Times the first third's p99, which the last third's may be."""
GOODPUT = {2: 0.9, 5: 0.85, 10: 0.7}
"""Multiple of the capacity -> the share of it that is still answered in time."""
SLOWER, REFUSED_MS, LARGER = 1.5, 20.0, 1.10
"""Times the target, for what is accepted; milliseconds to a refusal at twice the capacity; times the memory."""
SHORT_CAPACITY = 30.0
"""Questions a second that the short forms take for 100 %: they look at no duration."""
REFUSALS = {OK, "UNAVAILABLE", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"}


async def held(terms: Terms) -> Verdict:
    verdict = Verdict()
    how = _how(terms, terms.of(4.0, 600.0))
    async with opened(subjects.gateway(()), how.channels) as server:
        rate = SHARE * await _capacity(server, terms, verdict)
        run = await trials.run_at(rate, server, how, lambda *_: None)
    found = run.numbers()["loads"][summary.ALL]
    thirds = _thirds(run)
    p99 = found["milliseconds"]["p99"]
    by_thirds = ", ".join(f"{1e3 * one:.1f}" for one in thirds)
    verdict.saw(f"{found['statuses']} at {rate:.0f}/s, p99 {p99} ms; by thirds {by_thirds} ms")
    verdict.check(found["statuses"] == {OK: found["offered"]}, f"not all were answered: {found['statuses']}")
    if _is_believed(terms, verdict, run):
        verdict.check(p99 is not None and p99 <= how.target_ms, f"p99 is {p99} ms, the target {how.target_ms:g} ms")
        verdict.check(thirds[-1] <= HARDER * thirds[0], f"the last third's p99 is {thirds[-1] / thirds[0]:.2f} times")
    return verdict


async def beyond(terms: Terms) -> Verdict:
    verdict = Verdict()
    how = _how(terms, terms.of(2.0, 60.0))
    async with opened(subjects.gateway(()), CHANNELS) as server:
        capacity = await _capacity(server, terms, verdict)
        for multiple, wanted in GOODPUT.items():
            run = await trials.run_at(multiple * capacity, server, how, lambda *_: None)
            _judge_overload(terms, verdict, run, multiple, wanted, capacity)
        after = await trials.run_at(SHARE * capacity, server, _how(terms, terms.of(2.0, 10.0)), lambda *_: None)
    statuses = after.numbers()["loads"][summary.ALL]["statuses"]
    verdict.check(set(statuses) == {OK}, f"after it not all are answered: {statuses}")
    return verdict


def _judge_overload(terms: Terms, verdict: Verdict, run: Run, multiple: int, wanted: float, capacity: float) -> None:
    numbers = run.numbers()
    found, use = numbers["loads"][summary.ALL], numbers["server_use"]
    good, p99 = found["good_per_second"] / capacity, found["milliseconds"]["p99"]
    refused = 1e3 * _refused(run).percentile(99)
    larger = use["rss_ratio"] if use else 1.0
    verdict.saw(
        f"{multiple}x: goodput {good:.2f} of capacity, accepted p99 {p99} ms, refused p99 {refused:.1f} ms, memory "
        f"x{larger:.2f}"
    )
    verdict.check(set(found["statuses"]) <= REFUSALS, f"{multiple}x: {found['statuses']}")
    verdict.check(terms.is_short or larger <= LARGER, f"{multiple}x: memory is {larger:.2f} times that before")
    if _is_believed(terms, verdict, run):
        verdict.check(good >= wanted, f"{multiple}x: goodput {good:.2f} of capacity, {wanted:.2f} are asked")
        verdict.check(p99 is not None and p99 <= SLOWER * numbers["target_ms"], f"{multiple}x: accepted p99 {p99} ms")
        verdict.check(multiple > min(GOODPUT) or refused <= REFUSED_MS, f"refusals took {refused:.1f} ms")


def _how(terms: Terms, seconds: float) -> trials.Terms:
    return trials.Terms(
        questions.read(()), seconds=seconds, warmup=terms.of(0.5, 2.0), timeout_ms=terms.of(5000, 200), seed=terms.seed
    )


async def _capacity(server: Opened, terms: Terms, verdict: Verdict) -> float:
    """Questions a second with p99 within the target and none refused."""
    if terms.is_short:
        return SHORT_CAPACITY
    found = await trials.find_capacity(server, _how(terms, 5.0), lambda *_: None, trials.SearchTerms(repeats=1))
    verdict.saw(f"capacity {found.median:.0f}/s")
    if not found.median:
        raise RuntimeError("no rate passes, so there is no capacity to take a share of")
    return found.median


def _is_believed(terms: Terms, verdict: Verdict, run: Run) -> bool:
    """Whether durations are judged, and the generator kept its own promises."""
    if not terms.judges_time:
        reason = "durations"
    elif not run.is_valid:
        reason = f"durations, as the generator could not keep up: {run.faults[0]}"
    else:
        return True
    if reason not in verdict.unjudged:
        verdict.unjudged.append(reason)
    return False


def _thirds(run: Run) -> list[float]:
    """The p99, in seconds, of the answers that were due in each third after the warm-up."""
    (series,) = run.recorder.series.values()
    by_second: dict[int, Second] = {at: one for at, one in series.items() if at >= run.recorder.warmup}
    first, length = min(by_second), max(by_second) + 1 - min(by_second)
    thirds = [[one for at, one in by_second.items() if 3 * (at - first) // length == third] for third in range(3)]
    return [_merged((one.latency for one in third), SECOND_DIGITS).percentile(99) for third in thirds]


def _refused(run: Run) -> Latencies:
    return _merged((one.from_send for one in run.recorder.groups.values() if one.status != OK), DIGITS)


def _merged(parts: Iterable[Latencies], digits: int) -> Latencies:
    whole = Latencies(digits)
    for part in parts:
        whole.merge(part)
    return whole
