"""What is asked: the questions of files, or those that come with the harness."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.forge import texts

SHIPPED = Path(__file__).with_name("questions.txt")
"""200 questions to the bank of index/banking, of 3 to 60 words, half of them up to 10 or 11."""


@dataclass(frozen=True, slots=True)
class Questions:
    """Texts to draw from, and where they are from in words: a result names it, as their lengths decide what it says."""

    texts: Sequence[str]
    source: str


def read(sources: Sequence[Path] = ()) -> Questions:
    """Of all files together; the shipped ones without any. Raises FileNotFoundError or ValueError, naming the file."""
    files = sources or (SHIPPED,)
    found = [row.text for file in files for row in texts.read(file)]
    return Questions(found, ", ".join(f"{file.name} (sha256 {texts.sha256(file)[:12]})" for file in files))
