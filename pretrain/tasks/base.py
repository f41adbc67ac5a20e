"""What a task is: from one micro-batch to the terms of its loss. Normalising, weighting and merging are the step's
(pretrain/engine/step.py).

Token and pair losses are sums, divided by the number of terms in the task's *global* batch, so that ranks and micro-batches with
more target
tokens weigh more. Contrastive losses need every feature of the global batch at once: they give features, and the loss is taken
over all of them.
"""
from __future__ import annotations

from typing import Protocol

from torch import Tensor

from pretrain.data.batch import TaskBatch
from pretrain.model.unix2 import UniX2
from pretrain.tasks.token_loss import token_loss


class SumTask(Protocol):
    """A task whose loss is one or more sums over samples or tokens; each sum has a name, its normaliser the same one."""

    name: str

    def counts(self, batch: TaskBatch) -> dict[str, int]:
        """Number of terms in each sum of this micro-batch."""

    def sums(self, model: UniX2, batch: TaskBatch) -> dict[str, Tensor]:
        """The sums, fp32 scalars with gradient."""


class ContrastiveTask(Protocol):
    """A task whose loss is over all pairs of the global batch."""

    name: str

    def features(self, model: UniX2, batch: TaskBatch) -> tuple[Tensor, Tensor]:
        """Unit vectors of the two sides, (B, projection) each, fp32."""

    def keys(self, batch: TaskBatch) -> Tensor:
        """(B, 2) int64: identities of the two sides; where they agree, a pair is a positive."""

    def positives(self, keys: Tensor) -> Tensor:
        """(N, N) bool from the keys of the global batch: [i, j] when first side i and second side j belong together."""


def generation_sum(model: UniX2, batch: TaskBatch) -> Tensor:
    """Sum of -log p(label) over every target token, given the encoder's stream of the same row (components A and B)."""
    memory = model.fuse(batch.text, batch.images, batch.image_rows)
    assert batch.decoder_input is not None and batch.labels is not None
    return token_loss(model.decode(batch.decoder_input, memory), batch.labels, model.embed_tokens)


def target_count(batch: TaskBatch) -> int:
    assert batch.labels is not None
    return len(batch.labels)


def mask_count(batch: TaskBatch) -> int:
    assert batch.masked is not None
    return len(batch.masked)
