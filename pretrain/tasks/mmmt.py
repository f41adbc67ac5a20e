"""mMMT, masked multimodal machine translation (paper 3.2.8; components B and C; pictures with captions in two languages or more)."""
from __future__ import annotations

from torch import Tensor

from pretrain.data.batch import TaskBatch
from pretrain.model.unix2 import UniX2
from pretrain.tasks.base import mask_count, target_count
from pretrain.tasks.mlm import masked_sum
from pretrain.tasks.token_loss import token_loss


class MMMT:
    """Translation of a source whose tokens are partly `<mask>`, plus MLM on exactly those tokens, from one encoder pass. Two
    terms, each with its normaliser."""

    name = 'mmmt'

    def counts(self, batch: TaskBatch) -> dict[str, int]:
        return {'mmmt': target_count(batch), 'mmmt_masked': mask_count(batch)}

    def sums(self, model: UniX2, batch: TaskBatch) -> dict[str, Tensor]:
        assert batch.decoder_input is not None and batch.labels is not None
        encoded = model.fuse(batch.text, batch.images, batch.image_rows)
        translation = token_loss(model.decode(batch.decoder_input, encoded), batch.labels, model.embed_tokens)
        return {'mmmt': translation, 'mmmt_masked': masked_sum(model, encoded, batch)}
