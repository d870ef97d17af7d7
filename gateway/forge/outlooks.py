"""Writing into a bundle what a search promises, by the confidences that it has: nothing that is certified changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gateway.cascade.outlook import Outlook
from gateway.forge import asking, foresee, inform
from gateway.forge.calibrate import Outputs
from gateway.forge.data import Data
from gateway.forge.fit import LEAST_SHARE
from gateway.forge.inform import Scene
from gateway.forge.knowledge import Knowledge
from gateway.forge.lineage import check_made_of
from gateway.forge.recalibrate import outlook_part
from gateway.forge.recipes import Recipe
from gateway.forge.references import rewrite
from gateway.model import bundle as bundles
from gateway.model.bundle import Bundle, Precision
from gateway.model.engine import Engine


def write(folder: Path, recipe: Recipe, data: Data, knowledge: Knowledge) -> None:
    """Put the outlook of each precision into the bundle in `folder`.

    Raises ValueError where the bundle was made of other data, or none of its labels stands for a document.
    """
    bundle = bundles.load(folder)
    check_made_of(bundle, data)
    variants = {}
    for precision, variant in bundle.manifest.variants.items():
        found = of(bundle, precision, recipe, data, knowledge)
        variants[precision] = variant.model_copy(update={"outlook": outlook_part(found)})
    rewrite(folder, bundle.manifest.model_copy(update={"variants": variants}))


def of(bundle: Bundle, precision: Precision, recipe: Recipe, data: Data, knowledge: Knowledge) -> Outlook:
    """Of one precision, from the calibration questions and outliers as its graph sees them."""
    engine, profile = Engine(bundle, "cpu", 1, precision=precision), bundle.profile(precision)
    documents = knowledge.documents_before_launch(data)
    if profile.informed is None or not documents:
        raise ValueError(f"{bundle.folder}: no label of it stands for a document, so that a search promises nothing")
    inside = asking.labelled(engine.outputs, data, data.calibrate)
    outside = None
    if texts := data.outliers_calibrate:
        outside = Outputs(*engine.outputs(texts), np.full(len(texts), -1, np.int64))
    stands_for = tuple(knowledge.document_of.get(label, "") for label in data.labels)
    searched = asking.searched(engine.outputs, documents)
    scene = Scene(*searched, stands_for, profile.model.prototypes, profile.model.temperature)
    oos_share = max(recipe.confidence.oos_share, LEAST_SHARE)
    played = inform.play(scene, inside, outside, oos_share, recipe.data.seed)
    if played is None:
        raise ValueError(f"{bundle.folder}: too few labels stand for documents to tell what a search promises")
    return foresee.fit(played, profile.model.confidence, profile.informed)
