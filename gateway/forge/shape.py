"""The sizes of a student, read from its base; free of torch, as the graphs are that are built from them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a BERT trunk, as its `config.json` names them."""

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    max_position_embeddings: int
    layer_norm_eps: float

    @staticmethod
    def read(folder: Path) -> Shape:
        """The shape of the model in `folder`. ValueError if it is no BERT, the only trunk that is exported."""
        config = json.loads((folder / "config.json").read_text())
        if config.get("model_type") != "bert":
            raise ValueError(
                f"{folder}: the student must be a BERT-style encoder, but model_type is {config.get('model_type')!r}"
            )
        return Shape(**{name: config[name] for name in Shape.__dataclass_fields__})
