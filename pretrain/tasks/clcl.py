"""CLCL, cross-lingual contrastive learning: the two sides of a translation pair (paper 3.2.2; component A; OPUS)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pretrain.data.batch import Example, TaskBatch
from pretrain.data.sequences import text_id
from pretrain.tasks.base import ContrastiveTask
from pretrain.tasks.contrastive import linked, same

if TYPE_CHECKING:
    from pretrain.data.examples import Draw


class CLCL(ContrastiveTask):
    """Symmetric InfoNCE between two languages. Equal normalised sentences, and sentences that some pair of the batch has
    together, on whichever side, are a positive wherever they meet."""

    name = 'clcl'
    corpora = ('opus',)
    sides = 'text', 'other'

    def example(self, draw: Draw) -> Example:
        (language, ids), (other_language, other) = draw.sides()
        sequences = draw.sequences
        decode, second = sequences.tokenizer.decode, sequences.encoder_input(other, other_language)
        return draw.example(
            language, sequences.encoder_input(ids, language), other=second, second=(other_language, len(second)),
            text_id=text_id(decode(ids)), other_id=text_id(decode(other)),
        )  # fmt: skip

    def keys(self, batch: TaskBatch) -> Tensor:
        assert batch.text_ids is not None and batch.other_ids is not None
        return torch.stack([batch.text_ids, batch.other_ids], 1)

    def positives(self, keys: Tensor) -> Tensor:
        text, other = keys.T
        pairs, swapped = linked(same(text, text), same(other, other)), linked(same(text, other), same(text, other))
        return pairs | swapped | same(text, other)
