"""Batches of the right shape: of any device, without data."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pretrain.config import Config
from pretrain.data.batch import TaskBatch, Texts
from pretrain.tasks import REGISTRY, ContrastiveTask, SumTask, Task

DEVIATIONS = 6  # of a number that is drawn: more come once in a thousand million micro-batches
SPECIAL = 3  # <s>, </s> and the language's code


@dataclass(frozen=True)
class Lengths:
    """Tokens of a sequence, special ones included: lengths are spread evenly from `low` to `high`."""

    low: int
    high: int

    def rows(self, count: int) -> Tensor:
        """(count,) int64: the lengths of so many sequences."""
        return torch.linspace(self.low, self.high, count).round().long().clamp_min(SPECIAL)


@dataclass(frozen=True)
class Shape:
    """Lengths of captions and of texts."""

    captions: Lengths
    texts: Lengths
    most_pictures: bool = False  # as many as a micro-batch ever has, where samples with and without are mixed; else the mean

    @staticmethod
    def longest(config: Config) -> Shape:
        """Every sequence as long as the configuration allows: what memory must hold."""
        caption, text = config.data.caption_tokens, config.data.text_tokens
        return Shape(Lengths(caption, caption), Lengths(text, text), most_pictures=True)


class PlannedBatch(TaskBatch):
    """Stays where it is: on a device without memory the lengths are still numbers, on the CPU."""

    def to(self, device: torch.device | str) -> TaskBatch:
        return self


def planned_batch(config: Config, task: str, rows: int, shape: Shape, device: str = 'meta') -> TaskBatch:
    """`rows` samples of a task with the mean numbers of masks and prefix tokens that the configuration makes (paper 3.2), and of pictures
    unless the shape asks for the most.
    """
    options, size = config.task, config.model.visual.image_size
    kind = REGISTRY[task]

    def texts(lengths: Tensor) -> Texts:
        return Texts(torch.zeros(int(lengths.sum()), dtype=torch.int64, device=device), lengths)

    def ids(count: int) -> Tensor:
        return torch.zeros(count, dtype=torch.int64, device=device)

    def part(share: float) -> int:
        drawn = rows - round(rows * (1 - share))
        spread = math.sqrt(rows * share * (1 - share)) if shape.most_pictures else 0.0
        return min(rows, drawn + math.ceil(DEVIATIONS * spread))

    captioned = part(kind.share(config, 'pictures')) if 'pictures' in kind.corpora else 0
    lengths = torch.cat([shape.captions.rows(captioned), shape.texts.rows(rows - captioned)])
    target = lengths
    if isinstance(kind, SumTask) and kind.prefixed:  # half of the samples with a prefix of `prefix_share`, the others without one
        prefix = ((lengths - SPECIAL) * options.prefix_share).long()
        prefix[round(rows * options.prefix_probability) :] = 0
        lengths, target = prefix + SPECIAL, target - prefix
    batch = PlannedBatch(task=task, sample_ids=torch.arange(rows), languages=['en'] * rows, text=texts(lengths))
    if pictured := part(kind.pictured(config)):
        batch.images = torch.zeros(pictured, 3, size, size, dtype=torch.uint8, device=device)
        batch.image_rows = torch.arange(pictured)
        if config.mixture.share_images:
            batch.image_keys = _keys(config, kind, rows, pictured)
    if isinstance(kind, SumTask):
        if kind.written:
            batch.decoder_input = texts(target - 1)  # the shifted sequence has no <s>
            batch.labels = ids(int((target - 1).sum()))
        if kind.masked:
            ratio, starts = kind.mask_ratio(config), lengths.cumsum(0) - lengths
            rows_of = zip(starts.tolist(), lengths.tolist(), strict=True)
            masked = [start + 1 + place for start, length in rows_of for place in range(masks(length, ratio))]
            batch.masked, batch.masked_labels = torch.tensor(masked, device=device), ids(len(masked))
        if kind.matched:
            batch.match = torch.ones(rows, device=device)
    elif isinstance(kind, ContrastiveTask) and 'other' in kind.sides:
        batch.other = texts(lengths)
    batch.image_ids, batch.text_ids, batch.other_ids = (torch.arange(rows, device=device) for _ in range(3))
    return batch


def _keys(config: Config, kind: Task, rows: int, pictured: int) -> Tensor:
    """(pictured,) which pictures tasks of one size share: those of the same rows, if every record has captions in two languages. Of ITM's
    replaced ones so many are from elsewhere as the global batch is on other ranks and in other micro-batches.
    """
    size = config.batch.size(kind.name)
    keys = torch.arange(pictured) + 2 * size * size
    if isinstance(kind, SumTask) and kind.matched:
        elsewhere = round(rows * config.task.itm_negative_share / 2 * (1 - rows / size))
        keys[:elsewhere] += size
    return keys


def masks(length: int, ratio: float) -> int:
    """Masked tokens of a sequence, at least one."""
    return min(max(1, round((length - SPECIAL) * ratio)), max(1, length - SPECIAL))


def planned_batches(config: Config, task: str, world: int, shape: Shape, device: str = 'meta') -> list[TaskBatch]:
    """A rank's micro-batches of one step."""
    share, micro = config.batch.size(task) // world, config.batch.micro
    return [planned_batch(config, task, min(micro, share - first), shape, device) for first in range(0, share, micro)]
