"""CMCL, cross-modal contrastive learning: a picture and its caption in any language (paper 3.2.1; component A; CC3M, CC12M, WIT)."""
from __future__ import annotations

import torch
from torch import Tensor

from pretrain.data.batch import TaskBatch
from pretrain.tasks.base import ContrastiveTask
from pretrain.tasks.contrastive import linked, same


class CMCL(ContrastiveTask):
    """Symmetric InfoNCE between pictures and captions. A picture and a caption that some pair of the batch has together,
    by identity and normalised text, are a positive wherever they meet (docs/method.md)."""

    name = 'cmcl'
    sides = 'image', 'text'

    def keys(self, batch: TaskBatch) -> Tensor:
        assert batch.image_ids is not None and batch.text_ids is not None
        return torch.stack([batch.image_ids, batch.text_ids], 1)

    def positives(self, keys: Tensor) -> Tensor:
        picture, text = keys.T
        return linked(same(picture, picture), same(text, text))
