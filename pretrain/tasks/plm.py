"""PLM, prefix language modelling: the encoder reads the first T_p tokens, the decoder writes the rest (paper 3.2.5; component B; CC100)."""
from __future__ import annotations

from torch import Tensor

from pretrain.data.batch import TaskBatch
from pretrain.model.unix2 import UniX2
from pretrain.tasks.base import generation_sum, target_count


class PLM:
    """Cross-entropy on every token that the decoder writes."""

    name = 'plm'

    def counts(self, batch: TaskBatch) -> dict[str, int]:
        return {'plm': target_count(batch)}

    def sums(self, model: UniX2, batch: TaskBatch) -> dict[str, Tensor]:
        return {'plm': generation_sum(model, batch)}
