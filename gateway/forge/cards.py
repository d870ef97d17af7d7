"""Writing into a bundle's card what is found of its data, where that was not done when it was made."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from gateway.forge import card, folders, lineage
from gateway.forge.data import Data
from gateway.forge.references import rewrite
from gateway.model import bundle as bundles


def tell_checks(folder: Path, data: Data, checks: dict[str, Any]) -> None:
    """Put `checks`, as `data_checks` found them in `data`, into the manifest and the card of the bundle in `folder`,
    whole or not at all. ValueError where it was made of other data, or has no certificate; BundleInvalid."""
    bundle = bundles.load(folder)
    lineage.check_made_of(bundle, data)
    if bundle.certificate is None:
        raise ValueError(f"{bundle.uncertified}; its card is written with that")
    manifest = bundle.manifest.model_copy(update={"metrics": bundle.manifest.metrics | {"checks": checks}})
    scratch = folders.scratch(folder)
    try:
        shutil.copytree(folder, scratch, dirs_exist_ok=True)
        (scratch / card.NAME).write_text(card.write(manifest, bundle.certificate))
        files = manifest.files | {card.NAME: bundles.sha256(scratch / card.NAME)}
        rewrite(scratch, manifest.model_copy(update={"files": files}))
        scratch.chmod(folder.stat().st_mode)
        folders.put(scratch, folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
