"""`python -m deploy.sbom FILE`: the models that are shipped, added to a CycloneDX list of what is installed."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MODELS = Path(__file__).parent.parent / "models"


def components(models: Path = MODELS) -> Iterator[dict[str, Any]]:
    """One for each bundle in a folder of its own, as CycloneDX 1.6 has models."""
    for path in sorted(models.glob("*/*/manifest.json")):
        content = path.read_bytes()
        manifest = json.loads(content)
        yield {
            "type": "machine-learning-model",
            "bom-ref": f"bundle:{manifest['name']}/{manifest['version']}",
            "name": manifest["name"],
            "version": manifest["version"],
            "description": f"Distilled from {manifest['teacher']}; began as {manifest['base']}",
            "licenses": [{"license": {"id": manifest["licence"]}}],
            # The manifest's, which has that of every other file.
            "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(content).hexdigest()}],
        }


def main() -> None:
    file = Path(sys.argv[1])
    bill = json.loads(file.read_text(encoding="utf-8"))
    bill["components"] = [*bill.get("components", ()), *components()]
    file.write_text(json.dumps(bill, indent=2) + "\n", encoding="utf-8")
    print(f"{file}: {len(bill['components'])} components")


if __name__ == "__main__":
    main()
