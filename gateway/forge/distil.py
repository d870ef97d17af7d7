"""Distillation: the student learns the teacher's answers and keeps, and sharpens, its own sense of what is alike.

Three losses on one trunk. Answers: the teacher's soft labels over the transfer set, and the true labels where there are
any. Likeness: each text's embedding stays near the reference's of that text (1 - cosine), over questions, knowledge
passages and far sentences, so that the retrieval head remains a general encoder. Evidence: a question's embedding is
to be nearest to the passages of the document that its label stands for; passages are drawn and contrasted with each
other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

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

STEP_VERSION = 1
"""Raised when a change here or in the encoder changes what is learned, so that kept students are made again."""
PASSAGES = 16
"""Passages in a batch: enough contrast, at less than half of the cost of the batch's questions."""
GRID_FROM = 0.7
"""The last part of training sees the layers' matrices in 8 bits, and mends what rounding them does."""
CONTRAST_TEMPERATURE = 0.05
PASSAGE_TOKENS = 96


@dataclass(frozen=True, slots=True)
class TransferSet:
    """What the student learns from.

    `texts` with the teacher's `logits` [texts, labels] and `reference` embeddings [texts, any]; `labels` [texts] is -1
    where there is no true label. `passages` with their reference embeddings. Documents have numbers of their own, as
    several labels may stand for one: `wanted` [texts] is the document that the text's label stands for, `document`
    [passages] the one that the passage is of; -1 where there is none.
    """

    texts: Sequence[str]
    logits: NDArray[np.float32]
    labels: NDArray[np.int64]
    wanted: NDArray[np.int64]
    reference: NDArray[np.float32]
    passages: Sequence[str]
    passage_reference: NDArray[np.float32]
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
    passages = [encoding.ids[:PASSAGE_TOKENS] for encoding in encode.encode_batch(list(transfer.passages))]
    heads = [*student.widen.parameters(), *student.answer.parameters()]
    trunk = [p for p in student.parameters() if p.requires_grad and all(p is not head for head in heads)]
    optimizer = torch.optim.AdamW(
        [{"params": trunk, "lr": section.learning_rate}, {"params": heads, "lr": 5 * section.learning_rate}],
        weight_decay=0.01,
        fused=True,
    )
    steps = section.passes * math.ceil(len(texts) / section.batch)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: schedule(step, steps))
    by_document = _by_document(transfer.document)
    lengths = [len(ids) for ids in texts]
    student.train()
    step, running = 0, np.zeros(3)
    for _ in range(section.passes):
        for rows in batches(lengths, section.batch, random):
            if step == round(GRID_FROM * steps):
                student.use_grid()
            # Passages are long: on every other step they cost a quarter of the time instead of half.
            chosen = _draw(transfer.wanted[rows], by_document, len(passages), random) if step % 2 == 0 else []
            losses = _losses(student, transfer, texts, passages, rows, chosen, section)
            weights = (1.0, section.likeness_weight, section.evidence_weight)
            total = torch.stack([loss * weight for loss, weight in zip(losses, weights, strict=True)]).sum()
            total.backward()
            nn.utils.clip_grad_norm_(student.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
            step += 1
            seen = np.array([float(loss.detach()) for loss in losses])
            running = seen if step == 1 else 0.95 * running + 0.05 * seen  # the last is 0 on every other step
            progress(step, steps, "answers {:.3f}  likeness {:.4f}  evidence {:.3f}".format(*running))
    student.settle()
    return student.eval()


def _losses(
    student: Student,
    transfer: TransferSet,
    texts: list[list[int]],
    passages: list[list[int]],
    rows: list[int],
    chosen: list[int],
    section: StudentSection,
) -> tuple[Tensor, Tensor, Tensor]:
    with torch.autocast(device().type, torch.bfloat16):
        logits, embedding = _forward(student, [texts[row] for row in rows])
        found = [embedding]
        if chosen:
            found.append(_forward(student, [passages[one] for one in chosen])[1])
    logits, both = logits.float(), torch.cat(found).float()
    labels = torch.from_numpy(transfer.labels[rows]).to(logits.device)
    answers = _answer_loss(logits, torch.from_numpy(transfer.logits[rows]).to(logits.device), labels, section)
    reference = np.concatenate([transfer.reference[rows], transfer.passage_reference[chosen]])
    likeness = _likeness_loss(both, torch.from_numpy(reference).to(logits.device))
    evidence = logits.new_zeros(())
    if chosen:
        wanted, document = (
            torch.from_numpy(one).to(logits.device) for one in (transfer.wanted[rows], transfer.document[chosen])
        )
        evidence = _evidence_loss(both[: len(rows)], both[len(rows) :], wanted, document)
    return answers, likeness, evidence


def _forward(student: Student, questions: list[list[int]]) -> tuple[Tensor, Tensor]:
    logits, embedding = student(*(part.to(device()) for part in pad(questions)), len(questions))
    return logits, embedding


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
    """Each question against all drawn passages; those of its own document share the mass."""
    scores = questions @ passages.T / CONTRAST_TEMPERATURE
    own = (wanted[:, None] == document[None, :]) & (wanted[:, None] >= 0)
    has = own.any(1)
    if not has.any():
        return questions.new_zeros(())
    inside = scores.masked_fill(~own, -1e4).logsumexp(1)
    return (scores.logsumexp(1) - inside)[has].mean()


def _by_document(document: NDArray[np.int64]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for passage, number in enumerate(document.tolist()):
        found.setdefault(number, []).append(passage)
    return found


def _draw(
    wanted: NDArray[np.int64], by_document: dict[int, list[int]], passages: int, random: np.random.Generator
) -> list[int]:
    """Passages for a batch: one for each of some of the documents that it wants, the rest from anywhere."""
    if not passages:
        return []
    some = [one for one in dict.fromkeys(random.permutation(wanted).tolist()) if one in by_document]
    chosen = [int(random.choice(by_document[one])) for one in some if one >= 0][: PASSAGES * 3 // 4]
    chosen += [int(one) for one in random.choice(passages, PASSAGES - len(chosen))]
    return list(dict.fromkeys(chosen))
