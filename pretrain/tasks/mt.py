"""MT, machine translation (paper 3.2.7; component B; OPUS)."""
from __future__ import annotations

from torch import Tensor

from pretrain.data.batch import TaskBatch
from pretrain.model.unix2 import UniX2
from pretrain.tasks.base import generation_sum, target_count


class MT:
    """Cross-entropy on every token that the decoder writes."""

    name = 'mt'

    def counts(self, batch: TaskBatch) -> dict[str, int]:
        return {'mt': target_count(batch)}

    def sums(self, model: UniX2, batch: TaskBatch) -> dict[str, Tensor]:
        return {'mt': generation_sum(model, batch)}
