"""Whether 8-bit products on this machine are what they should be: a CPU may saturate their sums without an error."""

from __future__ import annotations

import base64
from functools import cache

import numpy as np
import onnxruntime

EXACT = 2 * 255 * 127
MODEL = base64.b64decode(
    "CAg6XQoYCgFhCgFiEgF5Ig1NYXRNdWxJbnRlZ2VyEghwcm9kdWN0cyoNCAIIARADQgFiSgJ/f1oTCgFhEg4KDAgCEg"
    "gKAggBCgIIAmITCgF5Eg4KDAgGEggKAggBCgIIAUIECgAQDQ=="
)
"""ONNX: `a`, a [1, 2] of uint8, times a constant [2, 1] of int8, both 127, to int32."""


WARNING = (
    "sums of 8-bit products saturate on this CPU (AVX2 without VNNI): the int8 graph answers a little differently here "
    "than where its certificate was made, if they do not saturate there"
)
FIX = "gateway certify --ask-again makes one for such CPUs; model.precision = 'fp32' is exact, and slower"


@cache
def products_are_exact() -> bool:
    """On a CPU with AVX2 and without VNNI two products are added in 16 bits, and what does not fit is cut off."""
    session = onnxruntime.InferenceSession(MODEL, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"a": np.full((1, 2), 255, np.uint8)})
    return int(found[0, 0]) == EXACT
