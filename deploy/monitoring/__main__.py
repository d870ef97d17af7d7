"""`python -m deploy.monitoring`: write every file anew."""

from __future__ import annotations

from deploy.monitoring.files import ROOT, files

for path, content in files().items():
    (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
    (ROOT / path).write_text(content, encoding="utf-8")
    print(path)
