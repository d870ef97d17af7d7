"""An accelerator for tests: ONNX Runtime's CPU provider under the name of CUDA, which can be made to fail."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from gateway.errors import InferenceFailed
from gateway.model import session as sessions
from gateway.model.packing import Tokens
from gateway.model.session import Outputs, Session


class Accelerator:
    """Stands in for CUDA as long as the monkeypatch lasts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_lost = False
        self.most_questions = 10_000
        """Larger batches find no memory."""
        self.poison: Tokens | None = None
        """A question that it cannot compute."""
        self.batches: list[int] = []
        """Questions of each pass that it was asked for."""
        monkeypatch.setitem(sessions.PROVIDERS, "cuda", "CPUExecutionProvider")
        monkeypatch.setitem(sessions.PROVIDER_OPTIONS, "cuda", {})
        monkeypatch.setitem(sessions.MEMORY, "cuda", "cpu")
        run = Session.run

        def watched(session: Session, questions: Sequence[Tokens]) -> Outputs:
            if session.device == "cuda":
                self._check(questions)
            return run(session, questions)

        monkeypatch.setattr(Session, "run", watched)

    def _check(self, questions: Sequence[Tokens]) -> None:
        self.batches.append(len(questions))
        if self.is_lost:
            raise InferenceFailed("CUDA failure 700: an illegal memory access was encountered")
        if len(questions) > self.most_questions:
            raise InferenceFailed("Failed to allocate memory for requested buffer of size 8388608000")
        if self.poison in questions:
            raise InferenceFailed("Non-zero status code returned while running Gather node")
