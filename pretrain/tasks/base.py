"""What a task is: what it reads, how its example is made, what its loss is made of. The forward of one task or of all together is in
pretrain/tasks/forward.py; normalising, weighting and merging are the step's (pretrain/engine/step.py).

Token and pair losses are sums, divided by the number of terms in the task's *global* batch, so that ranks and micro-batches with more
target tokens weigh more. Contrastive losses need every feature of the global batch at once: they give features, and the loss is taken over
all of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Literal

from torch import Tensor

from pretrain.config import Config
from pretrain.data.batch import Example, TaskBatch

if TYPE_CHECKING:
    from pretrain.data.examples import Draw


class Task:
    """What a task is called, what it reads, and how its example is made.

    Those of fine-tuning read no corpus: their benchmark makes the examples (downstream/benchmark.py).
    """

    name: ClassVar[str]
    corpora: ClassVar[tuple[str, ...]] = ()  # Table 6 of the paper; 'pictures' stands for those of data.pictures
    bilingual: ClassVar[bool] = False  # whether it needs captions in two languages

    def share(self, config: Config, corpus: str) -> float:
        """Share of the samples that come from `corpus`, one of `corpora`."""
        return 1 / len(self.corpora)

    def pictured(self, config: Config) -> float:
        """Share of the samples that have a picture."""
        return self.share(config, 'pictures') if 'pictures' in self.corpora else 0.0

    def example(self, draw: Draw) -> Example:
        """The example of a record, every choice from `draw.generator`. Raises UserError for a picture that cannot be decoded, TypeError for
        a task of fine-tuning, which a configuration of pre-training cannot name.
        """
        raise TypeError(f'{self.name} reads no corpus: its benchmark makes the examples')


class SumTask(Task):
    """A task whose loss is one or more sums over the fused stream of text and picture, or over what the decoder writes given it.

    Each sum has a name, its normaliser the same one; None: the task has no such sum.
    """

    written: ClassVar[str | None] = None  # of -log p(label) over every token that the decoder writes (components A and B)
    masked: ClassVar[str | None] = None  # of -log p(original token) over the masked places (component C)
    matched: ClassVar[str | None] = None  # of the binary cross-entropy on [MM_CLS] (component C)
    classified: ClassVar[str | None] = None  # of the loss of the classes' scores on [MM_CLS] (component C)
    exclusive: ClassVar[bool] = True  # whether one class holds (softmax), or each by itself (sigmoid)
    prefixed: ClassVar[bool] = False  # whether the encoder reads a prefix of what is written

    def mask_ratio(self, config: Config) -> float:
        """Probability that a token is masked, of tasks with `masked`."""
        return config.task.mask_ratio

    def counts(self, batch: TaskBatch) -> dict[str, int]:
        """Number of terms in each sum of this micro-batch."""
        targets = (
            (self.written, batch.labels), (self.masked, batch.masked), (self.matched, batch.match), (self.classified, batch.classes),
        )  # fmt: skip
        return {name: len(target) for name, target in targets if name is not None and target is not None}


class ContrastiveTask(Task, ABC):
    """A task whose loss is over all pairs of the global batch."""

    sides: ClassVar[tuple[Literal['image', 'text', 'other'], Literal['image', 'text', 'other']]]  # of a batch, contrasted with each other

    @abstractmethod
    def keys(self, batch: TaskBatch) -> Tensor:
        """(B, 2) int64: identities of the two sides; where they agree, a pair is a positive."""

    @abstractmethod
    def positives(self, keys: Tensor) -> Tensor:
        """(N, N) bool from the keys of the global batch: [i, j] when first side i and second side j belong together."""
