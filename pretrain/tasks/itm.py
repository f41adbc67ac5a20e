"""ITM, image-text matching: does the caption describe the picture? (paper 3.2.3; component C; CC3M, CC12M, WIT)."""
from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from pretrain.data.batch import TaskBatch
from pretrain.model.unix2 import UniX2


class ITM:
    """Binary cross-entropy on [MM_CLS]. Negatives are made with the batch (pretrain/data): the picture or the text of a matched
    pair is replaced."""

    name = 'itm'

    def counts(self, batch: TaskBatch) -> dict[str, int]:
        assert batch.match is not None
        return {'itm': len(batch.match)}

    def sums(self, model: UniX2, batch: TaskBatch) -> dict[str, Tensor]:
        assert batch.match is not None
        logits = model.itm_logits(model.fuse(batch.text, batch.images, batch.image_rows))
        return {'itm': F.binary_cross_entropy_with_logits(logits, batch.match, reduction='sum')}
