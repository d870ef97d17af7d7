"""What a version has to show before it is promoted.

| gate | passes where |
|---|---|
| loads | every file is what the manifest says; this one nobody can waive or force |
| golden | a session on CPU gives the golden answers, as at a start |
| certificate | there is one of these very files, and it promises something of the 8-bit graph |
| labels | every label of the version that serves is there |
| questions | on the same frozen questions it is shown to be no worse: see `forge/paired.py` |
| intents | and none of their intents is forgotten |
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from gateway.errors import BundleInvalid, DeviceUnavailable
from gateway.forge.paired import Comparison
from gateway.model import bundle as bundles
from gateway.model.bundle import Bundle
from gateway.model.packing import Tokenization
from gateway.model.session import open_session
from gateway.model.versions import Gate

LOADS = "loads"
SHOWN = 5
"""Names of labels and intents in a detail."""


def loads(folder: Path) -> tuple[Bundle | None, Gate]:
    """The bundle in `folder`, if it is whole."""
    try:
        found = bundles.load(folder)
    except BundleInvalid as error:
        return None, Gate(name=LOADS, outcome="failed", detail=str(error))
    return found, Gate(name=LOADS, outcome="passed", detail=f"{len(found.manifest.files)} files are what was made")


def golden(bundle: Bundle) -> Gate:
    """Whether a server would answer by it on a CPU like this one."""
    questions = len(bundle.manifest.golden)
    if not questions:
        return Gate(name="golden", outcome="skipped", detail="it has no golden questions")
    tokenization = Tokenization(bundle.path(bundles.TOKENIZER), bundle.manifest.max_tokens)
    try:
        session = open_session(bundle, tokenization, "cpu", 1)
    except (BundleInvalid, DeviceUnavailable) as error:
        return Gate(name="golden", outcome="failed", detail=str(error))
    return Gate(name="golden", outcome="passed", detail=f"{questions} answered as made, by {session.precision} on CPU")


def certificate(bundle: Bundle, is_waived: bool) -> Gate:
    """`is_waived`: who promotes it wants no promise."""
    problem = bundle.uncertified or _insufficient(bundle)
    if not problem:
        assert bundle.certificate
        risk, oos_share = bundle.certificate.risk, bundle.certificate.oos_share
        said = f"matches: at most {risk:.1%} wrong at up to {oos_share:.0%} out of scope"
        return Gate(name="certificate", outcome="passed", detail=said)
    return Gate(name="certificate", outcome="waived" if is_waived else "failed", detail=problem)


def _insufficient(bundle: Bundle) -> str:
    """Where it promises nothing of what a CPU serves."""
    assert bundle.certificate
    eight = bundle.certificate.variants.get("int8")
    if eight and any(one.operating.holds for one in eight.confidences.values()):
        return ""
    return (
        f"{bundle.folder}: the certificate is INSUFFICIENT, so its model would answer nothing; add certification "
        "questions, or allow for it with --uncertified"
    )


def labels(bundle: Bundle, current: Bundle) -> Gate:
    """None of those that are answered now may be missing."""
    kept = {label.name for label in bundle.manifest.labels}
    missing = [label.name for label in current.manifest.labels if label.name not in kept]
    if missing:
        return Gate(
            name="labels", outcome="failed", detail=f"{_some(missing)} of {current.id} are not among its labels"
        )
    return Gate(name="labels", outcome="passed", detail=f"all {len(current.manifest.labels)} of {current.id}")


def compared(found: Comparison, margin: float) -> list[Gate]:
    """Of the same frozen questions, asked of both; `margin` is what it may be worse by, as a share of them."""
    right, wrong = found.right, found.wrong
    said = (
        f"{found.questions} questions: {100 * right.value:+.2f} points right [{100 * right.low:+.2f}, "
        f"{100 * right.high:+.2f}], {100 * wrong.value:+.2f} wrong [{100 * wrong.low:+.2f}, {100 * wrong.high:+.2f}]"
    )
    not_shown = right.low < -margin or wrong.high > margin
    if not_shown:
        said += f"; that it is not worse by {100 * margin:g} points or more is not shown: ask more, or allow --margin"
    gates = [Gate(name="questions", outcome="failed" if not_shown else "passed", detail=said)]
    forgotten = [f"{one.name} ({one.before} of {one.questions} right, now {one.after})" for one in found.forgotten]
    said = _some(forgotten) if forgotten else f"none of {len(found.intents)} is forgotten"
    return [*gates, Gate(name="intents", outcome="failed" if forgotten else "passed", detail=said)]


def skipped(reason: str, *names: str) -> list[Gate]:
    return [Gate(name=name, outcome="skipped", detail=reason) for name in names]


def failed(gates: Iterable[Gate]) -> list[Gate]:
    return [one for one in gates if one.outcome == "failed"]


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
