"""What the untouched base model does on the same documents and questions: what distillation has to beat."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gateway.forge import bases
from gateway.forge.encoder import from_base
from gateway.forge.evaluate import Case
from gateway.forge.measure import all_layers, outputs
from gateway.forge.recipes import BaseSection
from gateway.knowledge.library import Generation
from gateway.model.bundle import Bundle


def retrieval(bundle: Bundle, generation: Generation, wanted: Sequence[Case], cache: Path) -> dict[str, Any]:
    """{group: share of questions whose document comes first} by the base's embeddings in full precision.

    Twice: with a document as near as its nearest passage, which is the usual way, and with our own rule.
    """
    recipe, most = bundle.manifest.recipe, bundle.manifest.max_tokens
    base = bases.find(BaseSection.model_validate(recipe["student_base"]), cache / "bases")
    student = from_base(base, all_layers(base), 2).eval()
    passages = outputs(student, base, [passage.plain for passage in generation.passages], most)[1]
    found: dict[str, Any] = {}
    for group in dict.fromkeys(case.group for case in wanted if case.document_id):
        some = [case for case in wanted if case.group == group and case.document_id]
        cosines = outputs(student, base, [case.text for case in some], most)[1] @ passages.T
        nearest, ours = [], []
        for number in range(len(generation.documents)):
            own = cosines[:, generation.rows(number)]
            nearest.append(own.max(axis=1))
            ours.append(own.max(axis=1) + own.mean(axis=1))
        ids = [document.id for document in generation.documents]
        wanted_ids = [case.document_id for case in some]
        found[group] = {
            name: float(
                np.mean([ids[row] == one for row, one in zip(np.argmax(scores, axis=0), wanted_ids, strict=True)])
            )
            for name, scores in (("nearest_passage", nearest), ("nearest_and_average", ours))
        }
    return found
