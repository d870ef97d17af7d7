"""Giving a bundle its certificate, from the outcomes that lie in it: thresholds, label groups, hashes."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from gateway.cascade.bounds import GRID
from gateway.forge import card
from gateway.forge import certify as certifying
from gateway.forge.certify import Asked, Certified, Known, Sample
from gateway.forge.outcomes import Outcomes, Part
from gateway.model import bundle as bundles
from gateway.model.bundle import Manifest, Precision
from gateway.model.certificate import (
    FORMAT,
    METHOD,
    NAME,
    Certificate,
    Confidence,
    Group,
    Threshold,
    VariantCertificate,
)


def put(folder: Path, manifest: Manifest, outcomes: Mapping[Precision, Outcomes], asked: Asked) -> Certificate:
    """Write the certificate, the card and the manifest of a bundle, whose other files are in `folder` already."""
    names = [bundles.outcomes_name(precision) for precision in outcomes]
    manifest = _vouching(folder, manifest, names)
    given = issue(manifest, outcomes, asked)
    (folder / NAME).write_text(given.model_dump_json(indent=1) + "\n")
    (folder / card.NAME).write_text(card.write(manifest, given))
    manifest = _vouching(folder, manifest, [NAME, card.NAME])
    (folder / bundles.MANIFEST).write_text(manifest.model_dump_json(indent=1) + "\n")
    return given


def _vouching(folder: Path, manifest: Manifest, names: Sequence[str]) -> Manifest:
    """With the hashes of these files as they lie there."""
    files = {name: bundles.sha256(folder / name) for name in names}
    return manifest.model_copy(update={"files": manifest.files | files})


def issue(manifest: Manifest, outcomes: Mapping[Precision, Outcomes], asked: Asked) -> Certificate:
    """For every precision of the manifest, whose files are those that the outcomes are of, each with its own."""
    any_one = next(iter(outcomes.values()))
    groups = [label.group for label in manifest.labels]
    return Certificate(
        format=FORMAT,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        method=METHOD,
        risk=asked.risk,
        assurance=asked.assurance,
        oos_share=asked.oos_share,
        questions=len(any_one.inside(Part.CERTIFY)),
        outliers=len(any_one.outside(Part.CERTIFY)),
        variants={
            str(precision): VariantCertificate(
                hashes=bundles.hashes(manifest, precision),
                alone=confidence(found, "alone", asked, groups),
                informed=confidence(found, "informed", asked, groups) if found.has_informed else None,
            )
            for precision, found in outcomes.items()
        },
    )


def confidence(outcomes: Outcomes, name: str, asked: Asked, groups: Sequence[str]) -> Confidence:
    """What can be promised of one confidence; `groups` are of the labels, by their numbers."""
    sample = outcomes.sample(name, Part.CERTIFY)
    if not len(sample.outside):
        asked = asked.at(0.0)
    known = Known(outcomes.sample(name, Part.CALIBRATE), len(sample.right), len(sample.outside))
    start = known.starting_point(asked)
    operating = certifying.certify(sample, asked, start)
    return Confidence(
        operating=_threshold(operating),
        back_off=_threshold(certifying.back_off(sample, asked, start, known.strict_start(asked))),
        risk_by_oos_share=operating.risk_by_share() if operating.holds else (),
        groups=_groups(outcomes, sample, operating, start, groups),
        needed=len(sample.right) if operating.holds else certifying.needed(sample, asked),
    )


def _threshold(given: Certified) -> Threshold:
    counts = given.counts
    return Threshold(
        value=given.threshold,
        risk=given.asked.risk,
        certified_up_to_oos_share=given.oos_share,
        accepted=int(counts.accepted),
        wrong=int(counts.wrong),
        outliers_accepted=int(counts.outliers_accepted),
        upper_bound=given.upper_bound,
    )


def _groups(
    outcomes: Outcomes, sample: Sample, operating: Certified, start: float, groups: Sequence[str]
) -> dict[str, Group]:
    """Each by the sequence of the pool, with its part of the error probability: it is certified at the pool's threshold
    if its own sequence gets as far, up to the share out of scope at which all passes that it tried."""
    names = sorted({*groups} - {""})
    if not operating.holds or not names:
        return {}
    asked = replace(operating.asked, assurance=1 - operating.asked.level / len(names))
    tried = tuple(threshold for threshold in GRID if threshold >= operating.threshold)
    of_label = np.array(groups)
    inside, outside = (
        of_label[outcomes.inside(Part.CERTIFY)["predicted"]],
        of_label[outcomes.outside(Part.CERTIFY)["predicted"]],
    )
    found = {}
    for name in names:
        part = sample.part(inside == name, outside == name)
        counts = part.counts(operating.threshold)
        own = certifying.certify(part, asked, start, tried)
        is_certified = own.threshold == operating.threshold
        found[name] = Group(
            is_certified=is_certified,
            certified_up_to_oos_share=own.oos_share if is_certified else 0.0,
            accepted=int(counts.accepted),
            wrong=int(counts.wrong),
            outliers_accepted=int(counts.outliers_accepted),
            upper_bound=counts.risk_bound(asked.oos_share, asked.level),
        )
    return found
