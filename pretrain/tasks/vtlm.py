"""VTLM, UC2's visual translation language modelling (arXiv 2104.00332, section 3.2; component C; pictures with captions in two languages
or more). Not one of the paper's eight tasks: configs/baselines/uc2.yaml trains it.
"""
from __future__ import annotations

from torch import Tensor

from pretrain.data.batch import TaskBatch
from pretrain.model.unix2 import UniX2
from pretrain.tasks.base import mask_count
from pretrain.tasks.mlm import masked_sum


class VTLM:
    """Cross-entropy on words masked in both captions of a picture, so that neither gives the other away."""

    name = 'vtlm'

    def counts(self, batch: TaskBatch) -> dict[str, int]:
        return {'vtlm': mask_count(batch)}

    def sums(self, model: UniX2, batch: TaskBatch) -> dict[str, Tensor]:
        return {'vtlm': masked_sum(model, model.fuse(batch.text, batch.images, batch.image_rows), batch)}
