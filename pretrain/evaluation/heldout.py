"""Held-out loss per task and language: the training losses on samples of the `val` streams, without dropout, augmentation or gradient."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
import torch.distributed as dist

from pretrain.data.batch import TaskBatch
from pretrain.engine.known_pairs import with_known_pairs
from pretrain.engine.zero import Engine
from pretrain.model.unix2 import UniX2
from pretrain.tasks import CONTRASTIVE, SUMMED
from pretrain.tasks.contrastive import DEFAULT, Contrast, contrastive_loss
from pretrain.tasks.forward import features, forward

Report = dict[str, dict[str, Any]]


@torch.no_grad()
def heldout_losses(engine: Engine, pools: Mapping[str, Iterable[tuple[str, list[TaskBatch]]]], contrast: Contrast = DEFAULT) -> Report:
    """{task: {'mean': x, 'languages': {language: loss}}}. `pools`: per task this rank's share, each item all samples of one language.

    A contrastive loss depends on the size of its pool: it compares runs, not languages. The mean is over languages, so that large ones do
    not hide small ones.
    """
    model: UniX2 = engine.module
    model.eval()
    local: dict[str, dict[str, float]] = {}
    for task, languages in pools.items():
        local[task] = {language: language_loss(model, task, batches, engine.device, contrast) for language, batches in languages}
    model.train()
    every: list[dict[str, dict[str, float]]] = [{}] * engine.world
    dist.all_gather_object(every, local)
    out: Report = {}
    for task in pools:
        losses = {language: loss for part in every for language, loss in part[task].items()}
        mean = sum(losses.values()) / len(losses) if losses else None
        out[task] = {'mean': mean, 'languages': dict(sorted(losses.items()))}
    return out


def language_loss(model: UniX2, task: str, batches: list[TaskBatch], device: torch.device, contrast: Contrast = DEFAULT) -> float:
    """Loss of one task over all of `batches`."""
    batches = [batch.to(device) for batch in batches]
    if task == 'itm':
        batches = with_known_pairs(batches, lambda own: own, device)
    if task in CONTRASTIVE:
        contrastive = CONTRASTIVE[task]
        pairs = [features(model, batch) for batch in batches]
        x, y = (torch.cat([pair[side] for pair in pairs]) for side in (0, 1))
        keys = torch.cat([contrastive.keys(batch) for batch in batches])
        return float(contrastive_loss(x, y, model.scale(), contrastive.positives(keys), model.logit_bias, contrast))
    sums: dict[str, float] = {}
    counts: dict[str, int] = {}
    for batch in batches:
        for name, value in forward(model, {task: batch}).sums[task].items():
            sums[name] = sums.get(name, 0.0) + float(value)
        for name, count in SUMMED[task].counts(batch).items():
            counts[name] = counts.get(name, 0) + count
    return sum(value / max(counts[name], 1) for name, value in sums.items())
