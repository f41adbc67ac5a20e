"""Batches of the right shape: of any device, without data."""
from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pretrain.config import Config
from pretrain.data.batch import TaskBatch, Texts

SPECIAL = 3  # <s>, </s> and the language's code


@dataclass(frozen=True)
class Lengths:
    """Tokens of a sequence, special ones included: lengths are spread evenly from `low` to `high`."""

    low: int
    high: int

    def rows(self, count: int, share: float = 1.0) -> Tensor:
        """(count,) int64: the lengths, or `share` of each sequence's own tokens with the special ones."""
        lengths = torch.linspace(self.low, self.high, count).round().long()
        return ((lengths - SPECIAL) * share).long().clamp_min(0) + SPECIAL


@dataclass(frozen=True)
class Shape:
    """Lengths of captions and of texts."""

    captions: Lengths
    texts: Lengths

    @staticmethod
    def longest(config: Config) -> Shape:
        """Every sequence as long as the configuration allows: what memory must hold."""
        caption, text = config.data.caption_tokens, config.data.text_tokens
        return Shape(Lengths(caption, caption), Lengths(text, text))


class PlannedBatch(TaskBatch):
    """Stays where it is: on a device without memory the lengths are still numbers, on the CPU."""

    def to(self, device: torch.device | str) -> TaskBatch:
        return self


def planned_batch(config: Config, task: str, rows: int, shape: Shape, device: str = 'meta') -> TaskBatch:
    """`rows` samples of a task with the mean numbers of pictures, masks and prefix tokens that the configuration makes (paper 3.2)."""
    options, size = config.task, config.model.visual.image_size
    captioned = shape.texts if task in ('clcl', 'plm', 'mt') else shape.captions

    def texts(lengths: Tensor) -> Texts:
        return Texts(torch.zeros(int(lengths.sum()), dtype=torch.int64, device=device), lengths)

    def ids(count: int) -> Tensor:
        return torch.zeros(count, dtype=torch.int64, device=device)

    lengths = captioned.rows(rows)
    pictured = rows if task in ('cmcl', 'itm', 'vplm') else 0
    if task == 'mlm':
        pictured = rows - round(rows * options.mlm_text_share)
        lengths = torch.cat([shape.captions.rows(pictured), shape.texts.rows(rows - pictured)])
    elif task == 'mmmt':
        pictured = rows - round(rows * options.mmmt_image_drop)
    target = lengths
    if task in ('plm', 'vplm'):  # half of the samples with a prefix of `prefix_share`, the others without one
        with_prefix = round(rows * options.prefix_probability)
        prefix = torch.cat([captioned.rows(rows, options.prefix_share)[:with_prefix], torch.full((rows - with_prefix,), SPECIAL)])
        lengths, target = prefix, target - (prefix - SPECIAL)
    batch = PlannedBatch(task=task, sample_ids=torch.arange(rows), languages=['en'] * rows, text=texts(lengths))
    if pictured:
        batch.images = torch.zeros(pictured, 3, size, size, dtype=torch.uint8, device=device)
        batch.image_rows = torch.arange(pictured)
    if task in ('plm', 'vplm', 'mt', 'mmmt'):
        batch.decoder_input = texts(target - 1)  # the shifted sequence has no <s>
        batch.labels = ids(int((target - 1).sum()))
    if task in ('mlm', 'mmmt'):
        ratio = options.mask_ratio if task == 'mlm' else options.mmmt_mask_ratio
        starts = lengths.cumsum(0) - lengths
        rows_of = zip(starts.tolist(), lengths.tolist(), strict=True)
        masked = [start + 1 + place for start, length in rows_of for place in range(masks(length, ratio))]
        batch.masked, batch.masked_labels = torch.tensor(masked, device=device), ids(len(masked))
    if task == 'itm':
        batch.match = torch.ones(rows, device=device)
    if task == 'clcl':
        batch.other = texts(lengths)
    batch.image_ids, batch.text_ids, batch.other_ids = (torch.arange(rows, device=device) for _ in range(3))
    return batch


def masks(length: int, ratio: float) -> int:
    """Masked tokens of a sequence, at least one."""
    return min(max(1, round((length - SPECIAL) * ratio)), max(1, length - SPECIAL))


def planned_batches(config: Config, task: str, world: int, shape: Shape, device: str = 'meta') -> list[TaskBatch]:
    """A rank's micro-batches of one step."""
    share, micro = config.batch.size(task) // world, config.batch.micro
    return [planned_batch(config, task, min(micro, share - first), shape, device) for first in range(0, share, micro)]
