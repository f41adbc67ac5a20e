"""MLM, masked language modelling, with the picture where there is one (paper 3.2.4; component C; CC3M, CC12M, WIT and CC100)."""
from __future__ import annotations

from torch import Tensor

from pretrain.data.batch import TaskBatch
from pretrain.model.unix2 import Encoded, UniX2
from pretrain.tasks.base import mask_count
from pretrain.tasks.token_loss import token_loss


class MLM:
    """Cross-entropy on the masked tokens (15 %, of them 80/10/10)."""

    name = 'mlm'

    def counts(self, batch: TaskBatch) -> dict[str, int]:
        return {'mlm': mask_count(batch)}

    def sums(self, model: UniX2, batch: TaskBatch) -> dict[str, Tensor]:
        return {'mlm': masked_sum(model, model.fuse(batch.text, batch.images, batch.image_rows), batch)}


def masked_sum(model: UniX2, encoded: Encoded, batch: TaskBatch) -> Tensor:
    """Sum of -log p(original token) over the masked places."""
    assert batch.masked is not None and batch.masked_labels is not None
    return token_loss(model.mlm_states(encoded, batch.text, batch.masked), batch.masked_labels, model.embed_tokens, model.mlm_bias)
