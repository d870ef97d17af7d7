"""How well a model tells what no label of it fits, as it is published for CLINC150: at one threshold, the share of the
questions in scope that are answered rightly, one that is refused counting as wrong, and the share of the others that
are refused (Larson et al. 2019, table 2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from gateway.forge.certify import Confidence, Flags, Sample


def threshold(developed: Sample, oos_share: float) -> float:
    """The confidence from which on to answer so that the most is right, being out of scope counting as one more label.

    That is how the published thresholds are found, on questions to develop by, of which `oos_share` is weighed as out
    of scope. Where several do as well it is the strictest.
    """
    tried = np.unique(np.concatenate([developed.confidence, developed.outside]))[::-1]
    answered = _share_from(tried, developed.confidence[developed.right], len(developed.confidence))
    let_through = _share_from(tried, developed.outside, len(developed.outside))
    gain = (1 - oos_share) * answered - oos_share * let_through
    return float(tried[int(gain.argmax())])


def _share_from(tried: Confidence, confidence: Confidence, whole: int) -> Confidence:
    """[tried]: the part of `whole` that `confidence` has at that or above."""
    below = np.searchsorted(np.sort(confidence), tried)
    return np.asarray((len(confidence) - below) / max(whole, 1), np.float32)


def measure(at: float, confidence: Confidence, right: Flags, outside: Mapping[str, Confidence]) -> dict[str, Any]:
    """At the threshold `at`: of questions in scope, `confidence` and `right` [n], and of the groups out of it."""
    return {
        "threshold": at,
        "accuracy": float((right & (confidence >= at)).mean()),
        "recall": {group: float((sure < at).mean()) for group, sure in outside.items()},
    }
