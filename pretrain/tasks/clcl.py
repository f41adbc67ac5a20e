"""CLCL, cross-lingual contrastive learning: the two sides of a translation pair (paper 3.2.2; component A; OPUS)."""
from __future__ import annotations

import torch
from torch import Tensor

from pretrain.data.batch import TaskBatch
from pretrain.tasks.base import ContrastiveTask
from pretrain.tasks.contrastive import linked, same


class CLCL(ContrastiveTask):
    """Symmetric InfoNCE between two languages. Equal normalised sentences, and sentences that some pair of the batch has
    together, on whichever side, are a positive wherever they meet."""

    name = 'clcl'
    sides = 'text', 'other'

    def keys(self, batch: TaskBatch) -> Tensor:
        assert batch.text_ids is not None and batch.other_ids is not None
        return torch.stack([batch.text_ids, batch.other_ids], 1)

    def positives(self, keys: Tensor) -> Tensor:
        text, other = keys.T
        pairs, swapped = linked(same(text, text), same(other, other)), linked(same(text, other), same(text, other))
        return pairs | swapped | same(text, other)
