"""The batches and the configuration of our side of the step benchmark: what the peer draws, in our form."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from pretrain.config import TASKS, Batch, Config, Data, Model, Optimizer, Visual
from pretrain.config.tasks import Mixture
from pretrain.data.batch import TaskBatch, Texts
from pretrain.data.packing import Packed, StepData, pack

IMAGE = ('cmcl', 'itm', 'mlm', 'vplm', 'mmmt')
PREFIX = ('plm', 'vplm')


def rows(generator: torch.Generator, a: argparse.Namespace, length: int, share: float = 1.0) -> tuple[Tensor, Tensor]:
    """The peer's `texts`: padded ids and mask, from the same draws."""
    lengths = (length * (0.25 + 0.75 * torch.rand(a.batch, generator=generator))).long()
    if share < 1:
        lengths = torch.where(torch.rand(a.batch, generator=generator) < 0.5, (share * lengths).long(), torch.zeros_like(lengths)) + 3
    lengths = lengths.clamp(3, length)
    width = int(lengths.max())
    ids = torch.randint(10, a.vocab, (a.batch, width), generator=generator)
    return ids, torch.arange(width)[None] < lengths[:, None]


def task_batch(generator: torch.Generator, a: argparse.Namespace, task: str) -> TaskBatch:
    """The peer's `batch`, from the same draws, as one of ours."""
    length = a.caption if task in IMAGE else a.text
    ids, mask = rows(generator, a, length, 0.2 if task in PREFIX else 1.0)
    other_ids, other_mask = rows(generator, a, length)
    match = torch.randint(0, 2, (a.batch,), generator=generator).float()
    chosen = (torch.rand(ids.shape, generator=generator) <= 0.15) & mask
    text, other = Texts(ids[mask], mask.sum(1)), Texts(other_ids[other_mask], other_mask.sum(1))
    number = torch.arange(a.batch)
    batch = TaskBatch(task, number, ['en'] * a.batch, text, image_ids=number, text_ids=number, other_ids=number + a.batch)
    if task in IMAGE:
        pixels = torch.randn(a.batch, 3, a.image, a.image, generator=generator)
        batch.images, batch.image_rows = (pixels * 64 + 128).clamp(0, 255).to(torch.uint8), number
    if task == 'clcl':
        batch.other = other
    if task in ('plm', 'vplm', 'mt', 'mmmt'):
        shifted = torch.roll(other_ids, 1, 1)
        shifted[:, 0] = 2
        batch.decoder_input, batch.labels = Texts(shifted[other_mask], other.lengths), other.ids
    if task in ('mlm', 'mmmt'):
        batch.masked = chosen[mask].nonzero().squeeze(1)
        batch.masked_labels = text.ids[batch.masked]
    if task == 'itm':
        batch.match = match
    return batch


def step_data(generator: torch.Generator, a: argparse.Namespace) -> StepData:
    """The peer's batches of all tasks. With --share-images each row has, in every image-text task, the picture that it has in CMCL: as the
    loader gives them when every record has captions in two languages and MLM takes no texts.
    """
    data = {task: [task_batch(generator, a, task)] for task in TASKS}
    for task in IMAGE if a.share_images else ():
        data[task][0].images, data[task][0].image_keys = data['cmcl'][0].images, torch.arange(a.batch)
    return data


def of_rank(data: StepData, rank: int) -> StepData:
    """The same batches as other samples: no rank's pictures or texts are another's positives."""

    def other(batch: TaskBatch) -> TaskBatch:
        names = ('sample_ids', 'image_ids', 'text_ids', 'other_ids', 'image_keys')
        found = {name: ids for name in names if (ids := getattr(batch, name)) is not None}
        return replace(batch, **{name: ids + rank * 10**6 for name, ids in found.items()})

    return {part: [other(batch) for batch in batches] for part, batches in data.items()}


class MadeUp(Dataset[Packed]):
    """The batches of a rank by step, for the loader of a run: behind step 0 `a.steps` different ones, again and again. Every rank has the
    same lengths: none waits for another's longer texts.
    """

    def __init__(self, a: argparse.Namespace, rank: int) -> None:
        self.a, self.rank = a, rank

    def __getitem__(self, step: int) -> Packed:
        return pack(of_rank(step_data(torch.Generator().manual_seed(step and 1 + step % self.a.steps), self.a), self.rank))


def batches_of(data: StepData) -> list[TaskBatch]:
    return [batch for batches in data.values() for batch in batches]


def tokens(batch: TaskBatch) -> int:
    """Real tokens, as the peer counts them."""
    parts = (batch.text, batch.other, batch.decoder_input)
    return sum(len(part.ids) for part in parts if part is not None)


def make_config(a: argparse.Namespace, out: str, ranks: int = 1) -> Config:
    """Of a run whose ranks have `a.batch` samples of a task each."""
    visual = Visual(
        name='vit_base_patch16_224', image_size=a.image,
        options={'embed_dim': a.vit_dim, 'depth': a.vit_layers, 'num_heads': a.vit_heads, 'patch_size': a.patch},
    )  # fmt: skip
    model = Model(
        visual=visual, dim=a.dim, heads=a.heads, ffn=4 * a.dim, text_layers=a.layers, cross_layers=a.layers, decoder_layers=a.layers,
        max_positions=512, dropout=0.1, projection=256,
    )  # fmt: skip
    batch = Batch(**{'global': ranks * a.batch}, micro=a.batch, together=not a.apart)
    precision: Any = 'bf16' if a.bf16 else 'fp32'
    optimizer, mixture = Optimizer(lr=1e-4, warmup=0), Mixture(share_images=a.share_images)
    return Config(out=out, precision=precision, model=model, data=Data(workers=0), mixture=mixture, batch=batch, optimizer=optimizer)
