"""Distillation: the student learns the teacher's answers and keeps, and sharpens, its own sense of what is alike.

Three losses on one trunk. Answers: the teacher's soft labels over the transfer set, and the true labels where there are
any. Likeness: each text's embedding stays near the reference's of that text (1 - cosine), over questions, knowledge
passages and far sentences, so that the retrieval head remains a general encoder. Evidence: a question is to find the
document that its label stands for among all documents, by the rule that retrieval ranks them with. Passages stay where
likeness holds them and only questions move: a passage that were drawn towards the questions that it answers would in
the end draw those that it does not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F

from gateway.forge.encoder import Student, from_base, pad
from gateway.forge.recipes import StudentSection
from gateway.forge.steps import Report
from gateway.forge.teacher import batches, device, schedule

STEP_VERSION = 2
"""Raised when a change here or in the encoder changes what is learned, so that kept students are made again."""
REFRESH = 100
"""Steps after which all passages are embedded anew. Likeness holds them, so that they go out of date slowly."""
GRID_FROM = 0.7
"""The last part of training sees the layers' matrices in 8 bits, and mends what rounding them does."""
CONTRAST_TEMPERATURE = 0.05
PASSAGE_BATCH = 32


@dataclass(frozen=True, slots=True)
class TransferSet:
    """What the student learns from.

    `texts` with the teacher's `logits` [texts, labels] and `reference` embeddings [texts, any]; `labels` [texts] is -1
    where there is no true label. Documents have numbers of their own, as several labels may stand for one: `document`
    [passages] is the passage's, `wanted` [texts] that of the document that the text's label stands for, -1 for none.
    """

    texts: Sequence[str]
    logits: NDArray[np.float32]
    labels: NDArray[np.int64]
    wanted: NDArray[np.int64]
    reference: NDArray[np.float32]
    passages: Sequence[str]
    document: NDArray[np.int64]


def tokenizer(folder: Path, max_tokens: int) -> Tokenizer:
    """The base's tokenizer without padding, which sentence-transformers' files switch on."""
    found = Tokenizer.from_file(str(folder / "tokenizer.json"))
    found.no_padding()
    found.enable_truncation(max_tokens)
    return found


def distil(
    folder: Path, layers: int, transfer: TransferSet, section: StudentSection, seed: int, progress: Report
) -> Student:
    """A student of `layers` layers, from the base in `folder`."""
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    student = from_base(folder, layers, transfer.logits.shape[1]).to(device())
    student.tokens.requires_grad_(False)  # words that no training question holds must keep their meaning
    encode = tokenizer(folder, section.max_tokens)
    texts = [encoding.ids for encoding in encode.encode_batch(list(transfer.texts))]
    passages = [encoding.ids for encoding in encode.encode_batch(list(transfer.passages))]
    heads = [*student.widen.parameters(), *student.answer.parameters()]
    trunk = [p for p in student.parameters() if p.requires_grad and all(p is not head for head in heads)]
    optimizer = torch.optim.AdamW(
        [{"params": trunk, "lr": section.learning_rate}, {"params": heads, "lr": 5 * section.learning_rate}],
        weight_decay=0.01,
        fused=True,
    )
    steps = section.passes * math.ceil(len(texts) / section.batch)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: schedule(step, steps))
    document = torch.from_numpy(transfer.document).to(device())
    bank = torch.empty(0)
    lengths = [len(ids) for ids in texts]
    student.train()
    step, running = 0, np.zeros(3)
    for _ in range(section.passes):
        for rows in batches(lengths, section.batch, random):
            if step == round(GRID_FROM * steps):
                student.use_grid()
            if passages and step % REFRESH == 0:
                bank = _embed(student, passages)
            losses = _losses(student, transfer, texts, rows, bank, document, section)
            weights = (1.0, section.likeness_weight, section.evidence_weight)
            total = torch.stack([loss * weight for loss, weight in zip(losses, weights, strict=True)]).sum()
            total.backward()
            nn.utils.clip_grad_norm_(student.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
            step += 1
            seen = np.array([float(loss.detach()) for loss in losses])
            running = seen if step == 1 else 0.95 * running + 0.05 * seen
            progress(step, steps, "answers {:.3f}  likeness {:.4f}  evidence {:.3f}".format(*running))
    student.settle()
    return student.eval()


def _losses(
    student: Student,
    transfer: TransferSet,
    texts: list[list[int]],
    rows: list[int],
    bank: Tensor,
    document: Tensor,
    section: StudentSection,
) -> tuple[Tensor, Tensor, Tensor]:
    with torch.autocast(device().type, torch.bfloat16):
        logits, embedding = _forward(student, [texts[row] for row in rows])
    logits, embedding = logits.float(), embedding.float()

    def given(values: NDArray[Any]) -> Tensor:
        return torch.from_numpy(values[rows]).to(logits.device)

    answers = _answer_loss(logits, given(transfer.logits), given(transfer.labels), section)
    likeness = _likeness_loss(embedding, given(transfer.reference))
    evidence = _evidence_loss(embedding, bank, given(transfer.wanted), document) if len(bank) else logits.new_zeros(())
    return answers, likeness, evidence


def _forward(student: Student, questions: list[list[int]]) -> tuple[Tensor, Tensor]:
    logits, embedding = student(*(part.to(device()) for part in pad(questions)), len(questions))
    return logits, embedding


@torch.no_grad()
def _embed(student: Student, passages: list[list[int]]) -> Tensor:
    """Embeddings [passages, dim] as the student has them now, without dropout."""
    student.eval()
    order = sorted(range(len(passages)), key=lambda one: len(passages[one]))
    found = torch.empty(len(passages), student.retrieval.out_features, device=device())
    for at in range(0, len(order), PASSAGE_BATCH):
        some = order[at : at + PASSAGE_BATCH]
        with torch.autocast(device().type, torch.bfloat16):
            found[some] = _forward(student, [passages[one] for one in some])[1].float()
    student.train()
    return found


def _answer_loss(logits: Tensor, soft: Tensor, labels: Tensor, section: StudentSection) -> Tensor:
    heat = section.temperature
    target = F.log_softmax(soft / heat, -1)
    loss = F.kl_div(F.log_softmax(logits / heat, -1), target, log_target=True, reduction="batchmean") * heat**2
    labelled = labels >= 0
    if labelled.any():
        loss = loss + section.hard_weight * F.cross_entropy(logits[labelled], labels[labelled])
    return loss


def _likeness_loss(embedding: Tensor, reference: Tensor) -> Tensor:
    """How far each text's embedding has turned away from the reference's: 1 - cosine, in the mean."""
    return (1 - (embedding * reference).sum(1)).mean()


def _evidence_loss(questions: Tensor, passages: Tensor, wanted: Tensor, document: Tensor) -> Tensor:
    """Cross-entropy of the wanted document among all, over questions that want one that there is."""
    has = (wanted[:, None] == document[None, :]).any(1)
    if not has.any():
        return questions.new_zeros(())
    scores = document_scores(questions[has] @ passages.T, document)
    return F.cross_entropy(scores / CONTRAST_TEMPERATURE, wanted[has])


def document_scores(similarities: Tensor, document: Tensor) -> Tensor:
    """[questions, documents] of [questions, passages]: nearest passage and average in equal parts, as Library ranks."""
    count = int(document.max()) + 1
    rows = document.expand(len(similarities), -1)
    nearest = similarities.new_full((len(similarities), count), -1.0).scatter_reduce(1, rows, similarities, "amax")
    sums = similarities.new_zeros(len(similarities), count).index_add(1, document, similarities)
    return (nearest + sums / torch.bincount(document, minlength=count).clamp_min(1)) / 2
