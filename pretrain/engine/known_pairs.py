"""Pairs of ITM that are true although they were made as negatives.

Whoever makes a negative compares the two records that picture and text come from. A third record of the global batch may have the same
picture with that very text (two corpora have the picture, each with a caption of its own); the rows are on other ranks, and nobody could
read all of them. So the step, which is given what every record has, sets these right before anything is counted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from pretrain.data.batch import TaskBatch
from pretrain.model.packed import sent
from pretrain.tasks.contrastive import same

Gather = Callable[[Tensor], Tensor]  # (N, ...) of this rank -> those of all ranks, in rank order


def with_known_pairs(batches: list[TaskBatch], gather: Gather, device: torch.device) -> list[TaskBatch]:
    """ITM's micro-batches, with `match` 1 wherever a record of the global batch has the row's picture with the row's text, drawn or not."""
    if any(batch.own_image_ids is None for batch in batches):  # made up, without records
        return batches
    pictures = gather(sent(torch.cat([batch.own_image_ids for batch in batches if batch.own_image_ids is not None]), device))
    captions = all_captions(batches, gather, device)
    out = []
    for batch in batches:
        assert batch.match is not None and batch.image_ids is not None and batch.text_ids is not None
        true = known(sent(batch.image_ids, device), sent(batch.text_ids, device), pictures, captions)
        out.append(replace(batch, match=torch.where(true, 1.0, sent(batch.match, device))))
    return out


def known(images: Tensor, texts: Tensor, pictures: Tensor, captions: Tensor) -> Tensor:
    """(B,) bool: whether some record has picture and text together. images, texts (B,), pictures (N,), captions (N, C): identities."""
    said = torch.zeros(len(texts), len(pictures), dtype=torch.bool, device=texts.device)
    for column in captions.T:  # one at a time: (B, N, C) is large
        said |= same(texts, column)
    return (said & same(images, pictures)).any(1)


def all_captions(batches: list[TaskBatch], gather: Gather, device: torch.device) -> Tensor:
    """(N, C) identities of all captions of every record of the global batch; C is the most that one has, the last stands for those that
    others lack. C is waited for: before a step's first forward, where its counts are, too.
    """
    own = [batch.own_text_ids for batch in batches if batch.own_text_ids is not None]
    ids, lengths = torch.cat([texts.ids for texts in own]), torch.cat([texts.lengths for texts in own])
    most = int(gather(sent(lengths.max()[None], device)).max())
    places = (lengths.cumsum(0) - lengths)[:, None] + torch.minimum(torch.arange(most), lengths[:, None] - 1)
    return gather(sent(ids, device)[sent(places, device)])
