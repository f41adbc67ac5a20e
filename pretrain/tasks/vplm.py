"""vPLM, visual prefix language modelling: PLM given the picture; with T_p = 0 it is captioning (paper 3.2.6; component B; CC3M,
CC12M, WIT)."""
from __future__ import annotations

from torch import Tensor

from pretrain.data.batch import TaskBatch
from pretrain.model.unix2 import UniX2
from pretrain.tasks.base import generation_sum, target_count


class VPLM:
    """Cross-entropy on every token that the decoder writes."""

    name = 'vplm'

    def counts(self, batch: TaskBatch) -> dict[str, int]:
        return {'vplm': target_count(batch)}

    def sums(self, model: UniX2, batch: TaskBatch) -> dict[str, Tensor]:
        return {'vplm': generation_sum(model, batch)}
