"""CMCL, cross-modal contrastive learning: a picture and its caption in any language (paper 3.2.1; component A; CC3M, CC12M, WIT)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pretrain.data.batch import Example, TaskBatch
from pretrain.data.rng import hash63
from pretrain.data.sequences import text_id
from pretrain.tasks.base import ContrastiveTask
from pretrain.tasks.contrastive import linked, same

if TYPE_CHECKING:
    from pretrain.data.examples import Draw


class CMCL(ContrastiveTask):
    """Symmetric InfoNCE between pictures and captions. A picture and a caption that some pair of the batch has together,
    by identity and normalised text, are a positive wherever they meet (docs/method.md)."""

    name = 'cmcl'
    corpora = ('pictures',)
    sides = 'image', 'text'

    def example(self, draw: Draw) -> Example:
        language, caption = draw.caption()
        ids = {'image_id': hash63(draw.record['image_id']), 'text_id': text_id(caption)}
        return draw.example(language, draw.encoded(caption, language), **draw.picture(), **ids)

    def keys(self, batch: TaskBatch) -> Tensor:
        assert batch.image_ids is not None and batch.text_ids is not None
        return torch.stack([batch.image_ids, batch.text_ids], 1)

    def positives(self, keys: Tensor) -> Tensor:
        picture, text = keys.T
        return linked(same(picture, picture), same(text, text))
