"""What a task is. The forward of one task or of all together is in pretrain/tasks/forward.py; normalising, weighting and merging are the
step's (pretrain/engine/step.py).

Token and pair losses are sums, divided by the number of terms in the task's *global* batch, so that ranks and micro-batches with more
target tokens weigh more. Contrastive losses need every feature of the global batch at once: they give features, and the loss is taken over
all of them.
"""
from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Literal

from torch import Tensor

from pretrain.data.batch import TaskBatch


class SumTask:
    """A task whose loss is one or more sums over the fused stream of text and picture, or over what the decoder writes given it.

    Each sum has a name, its normaliser the same one; None: the task has no such sum.
    """

    name: ClassVar[str]
    written: ClassVar[str | None] = None  # of -log p(label) over every token that the decoder writes (components A and B)
    masked: ClassVar[str | None] = None  # of -log p(original token) over the masked places (component C)
    matched: ClassVar[str | None] = None  # of the binary cross-entropy on [MM_CLS] (component C)
    classified: ClassVar[str | None] = None  # of the loss of the classes' scores on [MM_CLS] (component C)
    exclusive: ClassVar[bool] = True  # whether one class holds (softmax), or each by itself (sigmoid)

    def counts(self, batch: TaskBatch) -> dict[str, int]:
        """Number of terms in each sum of this micro-batch."""
        targets = (
            (self.written, batch.labels), (self.masked, batch.masked), (self.matched, batch.match), (self.classified, batch.classes),
        )  # fmt: skip
        return {name: len(target) for name, target in targets if name is not None and target is not None}


class ContrastiveTask(ABC):
    """A task whose loss is over all pairs of the global batch."""

    name: ClassVar[str]
    sides: ClassVar[tuple[Literal['image', 'text', 'other'], Literal['image', 'text', 'other']]]  # of a batch, contrasted with each other

    @abstractmethod
    def keys(self, batch: TaskBatch) -> Tensor:
        """(B, 2) int64: identities of the two sides; where they agree, a pair is a positive."""

    @abstractmethod
    def positives(self, keys: Tensor) -> Tensor:
        """(N, N) bool from the keys of the global batch: [i, j] when first side i and second side j belong together."""
