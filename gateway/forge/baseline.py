"""What the untouched base model does on the same documents and questions: what distillation has to beat."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from gateway.forge import bases
from gateway.forge.encoder import from_base
from gateway.forge.evaluate import Case
from gateway.forge.measure import all_layers, outputs
from gateway.forge.recipes import BaseSection
from gateway.knowledge import documents
from gateway.knowledge.generation import Generation
from gateway.model.bundle import Bundle


def retrieval(bundle: Bundle, generation: Generation, wanted: Sequence[Case], cache: Path) -> dict[str, Any]:
    """{group: share of questions whose document comes first} by the base's embeddings in full precision.

    And of all groups together: what retrieval that was not trained gets right if it always answers. Twice: with a
    document as near as its nearest passage, which is the usual way, and with our own rule.
    """
    recipe, most = bundle.manifest.recipe, bundle.manifest.max_tokens
    base = bases.find(BaseSection.model_validate(recipe["student_base"]), cache / "bases")
    student = from_base(base, all_layers(base), 2).eval()
    asked = [case for case in wanted if case.document_id]
    (segment,) = [part.segment for part in generation.parts]
    passages = outputs(
        student,
        base,
        [passage.plain for each in segment.documents for passage in documents.passages(each)],
        most,
    )[1]
    cosines = outputs(student, base, [case.text for case in asked], most)[1] @ passages.T
    of_document = [cosines[:, at:end] for at, end in pairwise(segment.first_passage)]
    scores = {
        "nearest_passage": [own.max(axis=1) for own in of_document],
        "nearest_and_average": [own.max(axis=1) + own.mean(axis=1) for own in of_document],
    }
    ids = [document.id for document in segment.documents]
    right = {
        name: np.array([ids[first] == case.document_id for first, case in zip(np.argmax(some, 0), asked, strict=True)])
        for name, some in scores.items()
    }
    groups = list(dict.fromkeys(case.group for case in asked))
    found = {
        group: {name: float(one[[case.group == group for case in asked]].mean()) for name, one in right.items()}
        for group in groups
    }
    return found | {" + ".join(groups): {name: float(one.mean()) for name, one in right.items()}}
