"""The student in torch: a BERT trunk over packed rows, an answer head and a retrieval head.

The forward pass is the one that is exported (see `graph.py`), with the same inputs: rows of tokens in which several
questions may stand side by side. Training uses one question a row, which is the ordinary padded batch.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from gateway.forge.shape import Shape

ANSWER_WIDTH = 768
"""The answer head's hidden layer: what telling labels apart takes beyond a linear map is learned there, and not at the
expense of the trunk, which has to stay a general encoder."""
FILLER = -1  # the question number of a token that belongs to no question


def on_grid(weight: Tensor, dim: int = 1) -> Tensor:
    """`weight` rounded to the 8-bit grid that the graphs store: 127 steps to the largest value along `dim`."""
    scale = weight.abs().amax(dim, keepdim=True).clamp_min(1e-8) / 127
    return (weight / scale).round() * scale


class Layer(nn.Module):
    """One post-norm transformer layer. With `gridded`, its matrices act as they will in 8 bits, and learn so."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width = shape.hidden_size
        self.gridded = False
        self.heads = shape.num_attention_heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.attention_out = nn.Linear(width, width)
        self.attention_norm = nn.LayerNorm(width, eps=shape.layer_norm_eps)
        self.up = nn.Linear(width, shape.intermediate_size)
        self.down = nn.Linear(shape.intermediate_size, width)
        self.norm = nn.LayerNorm(width, eps=shape.layer_norm_eps)

    def forward(self, hidden: Tensor, mask: Tensor, dropout: float) -> Tensor:
        rows, tokens, width = hidden.shape

        def split(projected: Tensor) -> Tensor:
            return projected.view(rows, tokens, self.heads, width // self.heads).transpose(1, 2)

        mixed = F.scaled_dot_product_attention(
            split(self.apply_linear(self.query, hidden)),
            split(self.apply_linear(self.key, hidden)),
            split(self.apply_linear(self.value, hidden)),
            attn_mask=mask,
        )
        mixed = self.apply_linear(self.attention_out, mixed.transpose(1, 2).reshape(rows, tokens, width))
        hidden = self.attention_norm(hidden + F.dropout(mixed, dropout, self.training))
        grown = self.apply_linear(self.down, F.gelu(self.apply_linear(self.up, hidden)))
        return self.norm(hidden + F.dropout(grown, dropout, self.training))

    @property
    def linears(self) -> tuple[nn.Linear, ...]:
        return self.query, self.key, self.value, self.attention_out, self.up, self.down

    def apply_linear(self, linear: nn.Linear, hidden: Tensor) -> Tensor:
        weight = linear.weight
        if self.gridded:  # the value of the grid, the gradient of the weight: a straight-through estimator
            weight = weight + (on_grid(weight) - weight).detach()
        return F.linear(hidden, weight, linear.bias)


class Student(nn.Module):
    """Trunk with two heads: `logits` [questions, labels] and unit-length `embedding` [questions, hidden]."""

    def __init__(self, shape: Shape, labels: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.shape = shape
        self.dropout = dropout
        self.tokens = nn.Embedding(shape.vocab_size, shape.hidden_size)
        self.positions = nn.Embedding(shape.max_position_embeddings, shape.hidden_size)
        self.norm = nn.LayerNorm(shape.hidden_size, eps=shape.layer_norm_eps)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.num_hidden_layers))
        self.widen = nn.Linear(2 * shape.hidden_size, ANSWER_WIDTH)
        self.answer = nn.Linear(ANSWER_WIDTH, labels)
        self.retrieval = nn.Linear(shape.hidden_size, shape.hidden_size, bias=False)
        nn.init.normal_(self.widen.weight, std=0.05)
        nn.init.zeros_(self.widen.bias)
        nn.init.normal_(self.answer.weight, std=0.02)
        nn.init.zeros_(self.answer.bias)
        nn.init.eye_(self.retrieval.weight)  # starts as the base's own sentence embedding

    def forward(self, ids: Tensor, positions: Tensor, question: Tensor, questions: int) -> tuple[Tensor, Tensor]:
        """`ids`, `positions`, `question`: int64 [rows, tokens]. Returns (logits, embedding) by question number."""
        mean, first = self.pool(ids, positions, question, questions)
        answered = self.answer(F.gelu(self.widen(torch.cat([mean, first], dim=1))))
        return answered, F.normalize(self.retrieval(mean).float(), dim=-1)

    def use_grid(self) -> None:
        """From now on the layers' matrices act in 8 bits."""
        for layer in self.layers:
            layer.gridded = True

    @torch.no_grad()
    def settle(self) -> None:
        """Put the layers' matrices onto the 8-bit grid for good, so that storing them in 8 bits loses nothing."""
        for layer in self.layers:
            layer.gridded = False
            for linear in layer.linears:
                linear.weight.copy_(on_grid(linear.weight))

    def pool(self, ids: Tensor, positions: Tensor, question: Tensor, questions: int) -> tuple[Tensor, Tensor]:
        """The mean of each question's last hidden states, and its first token's, [questions, hidden] each.

        The mean is what the base's embedding is made of and has to stay. The first token is free to say what else the
        answer head wants to know.
        """
        mask = (question.unsqueeze(2) == question.unsqueeze(1)).unsqueeze(1)
        hidden = self.norm(self.tokens(ids) + self.positions(positions))
        hidden = F.dropout(hidden, self.dropout, self.training)
        for layer in self.layers:
            hidden = layer(hidden, mask, self.dropout)
        flat, owner, place = hidden.flatten(0, 1), question.flatten(), positions.flatten()
        real, opens = owner != FILLER, (owner != FILLER) & (place == 0)
        sums = flat.new_zeros(questions, flat.shape[1]).index_add(0, owner[real], flat[real])
        first = flat.new_zeros(questions, flat.shape[1]).index_add(0, owner[opens], flat[opens])
        return sums / torch.bincount(owner[real], minlength=questions).unsqueeze(1).to(sums.dtype), first


def from_base(folder: Path, layers: int, labels: int) -> Student:
    """A student with `layers` of the base's layers, evenly spaced and the last always kept."""
    base = Shape.read(folder)
    if not 1 <= layers <= base.num_hidden_layers:
        raise ValueError(f"layers = {layers}: the base {folder.name} has {base.num_hidden_layers}")
    shape = Shape(**{**{n: getattr(base, n) for n in Shape.__dataclass_fields__}, "num_hidden_layers": layers})
    student = Student(shape, labels)
    weights = {name.removeprefix("bert."): tensor for name, tensor in load_file(folder / "model.safetensors").items()}
    kept = [round((i + 1) * base.num_hidden_layers / layers) - 1 for i in range(layers)]
    renamed = {
        # Frozen in distillation, and stored in 8 bits: on the grid from the start, so that the student learns with it.
        "tokens.weight": on_grid(weights["embeddings.word_embeddings.weight"]),
        # A question is always one segment: its type embedding is a constant, folded into the positions.
        "positions.weight": weights["embeddings.position_embeddings.weight"]
        + weights["embeddings.token_type_embeddings.weight"][0],
        "norm.weight": weights["embeddings.LayerNorm.weight"],
        "norm.bias": weights["embeddings.LayerNorm.bias"],
    }
    parts = {
        "query": "attention.self.query",
        "key": "attention.self.key",
        "value": "attention.self.value",
        "attention_out": "attention.output.dense",
        "attention_norm": "attention.output.LayerNorm",
        "up": "intermediate.dense",
        "down": "output.dense",
        "norm": "output.LayerNorm",
    }
    for target, source in enumerate(kept):
        for ours, theirs in parts.items():
            for kind in ("weight", "bias"):
                renamed[f"layers.{target}.{ours}.{kind}"] = weights[f"encoder.layer.{source}.{theirs}.{kind}"]
    left = student.load_state_dict(renamed, strict=False)
    unexpected = [name for name in left.missing_keys if not name.startswith(("widen.", "answer.", "retrieval."))]
    if unexpected or left.unexpected_keys:
        raise ValueError(f"{folder}: weights do not fit: missing {unexpected}, unknown {left.unexpected_keys}")
    return student


def pad(encodings: list[list[int]]) -> tuple[Tensor, Tensor, Tensor]:
    """One question a row: (ids, positions, question), int64 [questions, longest]."""
    longest = max(map(len, encodings))
    ids = np.zeros((len(encodings), longest), np.int64)
    question = np.full((len(encodings), longest), FILLER, np.int64)
    for row, tokens in enumerate(encodings):
        ids[row, : len(tokens)] = tokens
        question[row, : len(tokens)] = row
    positions = np.broadcast_to(np.arange(longest), ids.shape).copy()
    return torch.from_numpy(ids), torch.from_numpy(positions), torch.from_numpy(question)
