"""Distillation: the student learns the teacher's answers and keeps, and sharpens, its own sense of what is alike.

Three losses on one trunk. Answers: the teacher's soft labels over the transfer set, and the true labels where there are
any. Likeness: each text's embedding stays near the reference's of that text (1 - cosine), over questions, knowledge
passages and far sentences, so that the retrieval head remains a general encoder. Evidence: a question is to find
passages of the document that its label stands for among those drawn for the batch. Both sides move: what a passage has
to say to a question is learned for passages that nobody has asked about yet, too (with passages held fixed, and all
documents for contrast, questions of unseen intents found 1.3 points fewer of theirs, those of known ones as many).
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
from gateway.forge.teacher import batches, device, mixed, schedule

STEP_VERSION = 3
"""Raised when a change here or in the encoder changes what is learned, so that kept students are made again."""
PASSAGES, OWN_SHARE = 16, 0.75
"""Passages in a batch, and the most of them that its questions want: enough contrast, at a quarter of the time."""
PASSAGE_TOKENS = 96
"""Of a passage, in the evidence loss alone."""
EVIDENCE_EVERY = 2
"""Passages are long: at every other step they cost half as much, and teach as well."""
GRID_FROM = 0.7
"""The last part of training sees the layers' matrices in 8 bits, and mends what rounding them does."""
CONTRAST_TEMPERATURE = 0.05


@dataclass(frozen=True, slots=True)
class TransferSet:
    """What the student learns from.

    `texts` with the teacher's `logits` [texts, labels] and `reference` embeddings [texts, any]; `labels` [texts] is -1
    where there is no true label. `passages` are the rows of the texts that are passages. Documents have numbers of
    their own, as several labels may stand for one: `document` [passages] is the passage's, `wanted` [texts] that of the
    document that the text's label stands for, -1 for none.
    """

    texts: Sequence[str]
    logits: NDArray[np.float32]
    labels: NDArray[np.int64]
    wanted: NDArray[np.int64]
    reference: NDArray[np.float32]
    passages: NDArray[np.int64]
    document: NDArray[np.int64]

    def draw(self, rows: list[int], random: np.random.Generator) -> list[int]:
        """Passages, as places in `passages`, for the texts in `rows`.

        One of each of some of the documents that they want, the rest from anywhere.
        """
        if not len(self.passages):
            return []
        wanted = dict.fromkeys(random.permutation(self.wanted[rows]).tolist())
        own = [random.choice(some) for one in wanted if len(some := np.flatnonzero(self.document == one))]
        chosen = [int(one) for one in own[: round(OWN_SHARE * PASSAGES)]]
        chosen += [int(one) for one in random.choice(len(self.passages), PASSAGES - len(chosen))]
        return list(dict.fromkeys(chosen))


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
    heads = [*student.widen.parameters(), *student.answer.parameters()]
    trunk = [p for p in student.parameters() if p.requires_grad and all(p is not head for head in heads)]
    optimizer = torch.optim.AdamW(
        [{"params": trunk, "lr": section.learning_rate}, {"params": heads, "lr": 5 * section.learning_rate}],
        weight_decay=0.01,
        fused=True,
    )
    steps = section.passes * math.ceil(len(texts) / section.batch)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: schedule(step, steps))
    lengths = [len(ids) for ids in texts]
    student.train()
    step, running = 0, np.zeros(3)
    for _ in range(section.passes):
        for rows in batches(lengths, section.batch, random):
            if step == round(GRID_FROM * steps):
                student.use_grid()
            chosen = transfer.draw(rows, random) if step % EVIDENCE_EVERY == 0 else []
            losses = _losses(student, transfer, texts, rows, chosen, section)
            weights = (1.0, section.likeness_weight, section.evidence_weight)
            total = torch.stack([loss * weight for loss, weight in zip(losses, weights, strict=True)]).sum()
            total.backward()
            nn.utils.clip_grad_norm_(student.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
            step += 1
            seen = np.array([float(loss.detach()) for loss in losses])
            running = seen if step == 1 else 0.95 * running + 0.05 * seen  # of evidence, with its idle steps
            progress(step, steps, "answers {:.3f}  likeness {:.4f}  evidence {:.3f}".format(*running))
    student.settle()
    return student.eval()


def _losses(
    student: Student,
    transfer: TransferSet,
    texts: list[list[int]],
    rows: list[int],
    chosen: list[int],
    section: StudentSection,
) -> tuple[Tensor, Tensor, Tensor]:
    """(answers, likeness, evidence) for the texts in `rows` and the passages `chosen`, maybe none."""
    passages = transfer.passages[chosen].tolist()
    with mixed():
        logits, embedding = _forward(student, [texts[row] for row in rows])
        found = [embedding]
        if passages:
            found.append(_forward(student, [texts[row][:PASSAGE_TOKENS] for row in passages])[1])
    logits, both = logits.float(), torch.cat(found).float()

    def given(values: NDArray[Any], some: list[int]) -> Tensor:
        return torch.from_numpy(values[some]).to(logits.device)

    answers = _answer_loss(logits, given(transfer.logits, rows), given(transfer.labels, rows), section)
    likeness = _likeness_loss(both, given(transfer.reference, [*rows, *passages]))
    if not passages:
        return answers, likeness, logits.new_zeros(())
    wanted, document = given(transfer.wanted, rows), given(transfer.document, chosen)
    return answers, likeness, _evidence_loss(both[: len(rows)], both[len(rows) :], wanted, document)


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
    """How little of a question's softmax over passages falls to those of its document, over questions that have one."""
    scores = questions @ passages.T / CONTRAST_TEMPERATURE
    own = (wanted[:, None] == document[None, :]) & (wanted[:, None] >= 0)
    has = own.any(1)
    if not has.any():
        return questions.new_zeros(())
    inside = scores.masked_fill(~own, -1e4).logsumexp(1)
    return (scores.logsumexp(1) - inside)[has].mean()
