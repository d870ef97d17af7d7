"""Teachers: sentence encoders with a linear answer head, fine-tuned, and then asked for soft labels."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F

from gateway.forge.recipes import TeacherSection
from gateway.forge.steps import Report

STEP_VERSION = 2
"""Raised when a change of this code changes what it teaches, so that kept teachers are made again."""
OUTLIER_SHARE = 8  # one outlier for so many questions in a batch
OUTLIER_WEIGHT = 0.5


class Teacher(nn.Module):
    """A trunk from the hub's library, mean pooling, and a linear head.

    Any encoder that AutoModel loads and that has `embeddings` and `encoder.layer`, for `freeze`: BERT, RoBERTa, MPNet.
    """

    def __init__(self, folder: Path, labels: int) -> None:
        super().__init__()
        from transformers import AutoModel  # seconds to import, and needed for teachers only

        self.trunk: Any = AutoModel.from_pretrained(folder)
        self.answer = nn.Linear(self.trunk.config.hidden_size, labels)
        nn.init.normal_(self.answer.weight, std=0.02)
        nn.init.zeros_(self.answer.bias)

    def forward(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """`ids` and `mask` [questions, tokens]. Returns logits [questions, labels] and unit embeddings."""
        hidden = self.trunk(input_ids=ids, attention_mask=mask).last_hidden_state.float()
        weight = mask.unsqueeze(2).to(hidden.dtype)
        pooled = (hidden * weight).sum(1) / weight.sum(1)
        dropped = F.dropout(pooled, 0.1, self.training)
        return self.answer(dropped), F.normalize(pooled, dim=-1)

    def freeze(self, layers: int) -> None:
        """Keep the lowest `layers` as the base has them, and, if any, its token embeddings.

        ValueError if it has no such parts.
        """
        embeddings = getattr(self.trunk, "embeddings", None)
        stack = getattr(getattr(self.trunk, "encoder", None), "layer", None)
        if embeddings is None or stack is None:
            raise ValueError(
                f"teacher_base: a {type(self.trunk).__name__} has no `embeddings` with `encoder.layer`, parts of which "
                "are kept as they are; take a base like BERT, RoBERTa or MPNet"
            )
        embeddings.requires_grad_(layers == 0)
        for layer in stack[:layers]:
            layer.requires_grad_(False)


@dataclass(frozen=True, slots=True)
class Encoded:
    """Texts as token ids, with the id that fills short rows."""

    ids: list[list[int]]
    filler: int

    @staticmethod
    def of(folder: Path, texts: Sequence[str], max_tokens: int) -> Encoded:
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_tokens)
        filler = next((i for i in map(tokenizer.token_to_id, ("<pad>", "[PAD]")) if i is not None), 0)
        return Encoded([encoding.ids for encoding in tokenizer.encode_batch(list(texts))], filler)

    def batch(self, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        longest = max(len(self.ids[row]) for row in rows)
        ids = torch.full((len(rows), longest), self.filler)
        mask = torch.zeros((len(rows), longest), dtype=torch.long)
        for at, row in enumerate(rows):
            ids[at, : len(self.ids[row])] = torch.tensor(self.ids[row])
            mask[at, : len(self.ids[row])] = 1
        return ids, mask


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def mixed() -> torch.autocast:
    """Products in bfloat16 where the device has them. A CPU without AVX-512 emulates them: such a product takes nine
    times as long as one of floats with AVX2."""
    kind = device().type
    has = kind == "cuda" or torch.backends.cpu.get_cpu_capability() not in ("DEFAULT", "AVX2")
    return torch.autocast(kind, torch.bfloat16, enabled=has)


def schedule(step: int, steps: int, warmup: float = 0.1) -> float:
    """Linear warm-up, then a cosine to zero: the factor on the learning rate."""
    start = max(1, round(warmup * steps))
    if step < start:
        return (step + 1) / start
    return 0.5 * (1 + math.cos(math.pi * (step - start) / max(1, steps - start)))


def batches(lengths: Sequence[int], size: int, shuffle: np.random.Generator) -> Iterator[list[int]]:
    """Rows in random batches of like length: sorted within windows of 20 batches, so that little is padding."""
    order = shuffle.permutation(len(lengths))
    found: list[list[int]] = []
    for at in range(0, len(order), 20 * size):
        window = sorted(order[at : at + 20 * size], key=lambda row: lengths[row])
        found += [[int(row) for row in window[start : start + size]] for start in range(0, len(window), size)]
    for at in shuffle.permutation(len(found)):
        yield found[at]


def fine_tune(
    folder: Path,
    questions: tuple[Sequence[str], Sequence[int]],
    outliers: Sequence[str],
    labels: int,
    section: TeacherSection,
    seed: int,
    progress: Report,
) -> Teacher:
    """The base in `folder`, fine-tuned on (texts, label numbers); outliers are taught to look like no label."""
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    teacher = Teacher(folder, labels).to(device())
    teacher.freeze(section.frozen_layers)
    encoded, wrong = Encoded.of(folder, questions[0], 128), Encoded.of(folder, outliers, 64)
    lengths = [len(ids) for ids in encoded.ids]
    targets = torch.tensor(questions[1])
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in teacher.trunk.parameters() if p.requires_grad], "lr": section.learning_rate},
            {"params": teacher.answer.parameters(), "lr": section.head_learning_rate},
        ],
        weight_decay=0.01,
        fused=True,
    )
    steps = section.epochs * math.ceil(len(lengths) / section.batch)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: schedule(step, steps))
    teacher.train()
    step, running = 0, 0.0
    for _ in range(section.epochs):
        for rows in batches(lengths, section.batch, random):
            with mixed():
                logits, _ = teacher(*(part.to(device()) for part in encoded.batch(rows)))
            loss = F.cross_entropy(logits, targets[rows].to(logits.device), label_smoothing=section.label_smoothing)
            if wrong.ids and step % 2 == 0:
                some = random.choice(len(wrong.ids), max(1, 2 * len(rows) // OUTLIER_SHARE))
                with mixed():
                    logits, _ = teacher(*(part.to(device()) for part in wrong.batch([int(row) for row in some])))
                loss = loss + OUTLIER_WEIGHT * -F.log_softmax(logits, -1).mean()
            loss.backward()
            nn.utils.clip_grad_norm_(teacher.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
            step += 1
            running = 0.95 * running + 0.05 * float(loss.detach()) if step > 1 else float(loss.detach())
            progress(step, steps, f"loss {running:.3f}")
    return teacher.eval()


@torch.inference_mode()
def ask(
    teacher: Teacher, folder: Path, texts: Sequence[str], progress: Report, max_tokens: int = 128
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Logits [texts, labels] and unit embeddings [texts, width] of the teacher."""
    encoded = Encoded.of(folder, texts, max_tokens)
    order = sorted(range(len(texts)), key=lambda row: len(encoded.ids[row]))
    logits = np.zeros((len(texts), teacher.answer.out_features), np.float32)
    embeddings = np.zeros((len(texts), teacher.answer.in_features), np.float32)
    for at in range(0, len(order), 64):
        rows = order[at : at + 64]
        with mixed():
            some_logits, some_embeddings = teacher(*(part.to(device()) for part in encoded.batch(rows)))
        logits[rows] = some_logits.float().cpu().numpy()
        embeddings[rows] = some_embeddings.float().cpu().numpy()
        progress(min(at + 64, len(order)), len(order), "")
    return logits, embeddings
