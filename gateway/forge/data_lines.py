"""What the checks of the data found, in sentences for the card and the terminal: numbers and labels, no text."""

from __future__ import annotations

from typing import Any

from gateway.forge.data import FEW

SHOWN = 5
"""Intents that are named."""
MEASURING = (
    ("train", ("dev", "calibrate", "certify")),
    ("outliers_train", ("outliers_calibrate", "outliers_certify")),
)
"""Parts that train, with those that measure by the like of them."""


def of(checked: dict[str, Any]) -> list[str]:
    """`checked` is `data_checks.Findings.summary`."""
    return [_sizes(checked), *_noise(checked["noise"]), _contradictions(checked), *_twice(checked), _never(checked)]


def _sizes(checked: dict[str, Any]) -> str:
    said = _counts(checked["sizes"])
    if few := checked["few"]:
        named = _counts(dict(list(few.items())[:SHOWN]))
        said += f". {len(few)} intents have fewer than {FEW} questions, first of all {named}"
    return f"Texts: {said}."


def _noise(noise: dict[str, Any]) -> list[str]:
    if not noise["questions"]:
        return []
    said = (
        f"Labels that may be wrong: {noise['suspects']:,} of {noise['questions']:,}, by a classifier of words that is "
        f"right for {noise['accuracy']:.1%}; rightly labelled ones are among them."
    )
    if noise["most"]:
        said += " Most: " + ", ".join(f"{label} for {likely} ({count})" for label, likely, count in noise["most"]) + "."
    return [said]


def _contradictions(checked: dict[str, Any]) -> str:
    count = checked["contradictions"]
    kept = ", of which the first is kept" if count else ""
    return (
        f"The same text with several labels: {count}{kept}. Nearly the same with other labels: "
        f"{checked['near_with_other_labels']} pairs."
    )


def _twice(checked: dict[str, Any]) -> list[str]:
    near, sizes = checked["near"], checked["sizes"]
    shares = []
    for first, parts in MEASURING:
        for part in parts:
            if sizes.get(part):
                count = near.get(first, {}).get(part, 0)
                shares.append(f"{_plain(part)} {count} ({count / sizes[part]:.1%})")
    return [
        f"Nearly the same as one that trains: {', '.join(shares)}.",
        f"Outliers that are nearly a question of an intent: {checked['near_outliers']}.",
    ]


def _never(checked: dict[str, Any]) -> str:
    if not checked["never"]:
        return "No file is named whose questions must not train."
    leaks = checked["leaks"]
    return (
        f"Of the questions of {', '.join(checked['never'])}, which must not train, there are the same in: "
        f"{_counts(leaks['same']) or 'no part'}; nearly the same in: {_counts(leaks['near']) or 'no part'}."
    )


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{_plain(name)} {count:,}" for name, count in counts.items())


def _plain(part: str) -> str:
    return part.replace("_", " ") if part.startswith("outliers_") else part
