"""Held-out loss per task and language: the training losses on samples of the `val` streams, without dropout, augmentation or gradient."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import torch
import torch.distributed as dist

from pretrain.data.batch import TaskBatch
from pretrain.engine.known_pairs import with_known_pairs
from pretrain.engine.zero import Engine
from pretrain.model.unix2 import UniX2
from pretrain.tasks import CONTRASTIVE, SUMMED
from pretrain.tasks.contrastive import DEFAULT, Contrast, contrastive_loss, ranked_first
from pretrain.tasks.forward import features, forward

Report = dict[str, dict[str, Any]]


@torch.no_grad()
def heldout_losses(engine: Engine, pools: Mapping[str, Iterable[tuple[str, list[TaskBatch]]]], contrast: Contrast = DEFAULT) -> Report:
    """{task: {'mean': loss, 'languages': {language: loss}}}, and 'accuracy' where it gives answers: the share of ITM's pairs that it judges
    rightly, of a contrast that of the samples whose counterpart is the nearest in the pool, both ways. `pools`: per task this rank's share,
    each item all samples of one language.

    A contrastive loss depends on the size of its pool: it compares runs, not languages. The mean is over languages, so that large ones do
    not hide small ones; the accuracy is over samples. None where there are no samples.
    """
    model: UniX2 = engine.module
    model.eval()
    local: dict[str, dict[str, Judged]] = {}
    for task, languages in pools.items():
        local[task] = {language: judge(model, task, batches, engine.device, contrast) for language, batches in languages}
    model.train()
    every: list[dict[str, dict[str, Judged]]] = [{}] * engine.world
    dist.all_gather_object(every, local)
    out: Report = {}
    for task in pools:
        found = {language: judged for part in every for language, judged in part[task].items()}
        losses = {language: judged.loss for language, judged in sorted(found.items())}
        out[task] = {'mean': sum(losses.values()) / len(losses) if losses else None, 'languages': losses}
        if task in CONTRASTIVE or SUMMED[task].matched:
            answers = sum(judged.answers for judged in found.values())
            out[task]['accuracy'] = sum(judged.right for judged in found.values()) / answers if answers else None
    return out


class Judged(NamedTuple):
    """What came of the samples of one task and language."""

    loss: float
    right: int = 0  # of `answers`
    answers: int = 0  # one a pair of ITM, two a sample of a contrast


def judge(model: UniX2, task: str, batches: list[TaskBatch], device: torch.device, contrast: Contrast = DEFAULT) -> Judged:
    """Loss of one task over all of `batches`, and how often it is right, where it gives an answer."""
    batches = [batch.to(device) for batch in batches]
    if task == 'itm':
        batches = with_known_pairs(batches, lambda own: own, device)
    if task in CONTRASTIVE:
        contrastive = CONTRASTIVE[task]
        sides = [features(model, batch) for batch in batches]
        x, y = (torch.cat([pair[side] for pair in sides]) for side in (0, 1))
        keys = torch.cat([contrastive.keys(batch) for batch in batches])
        positives = contrastive.positives(keys)
        loss = contrastive_loss(x, y, model.scale(), positives, model.logit_bias, contrast)
        return Judged(float(loss), ranked_first(x, y, positives), 2 * len(x))
    sums: dict[str, float] = {}
    counts: dict[str, int] = {}
    right = answers = 0
    for batch in batches:
        outcome = forward(model, {task: batch})
        for name, value in outcome.sums[task].items():
            sums[name] = sums.get(name, 0.0) + float(value)
        for name, count in SUMMED[task].counts(batch).items():
            counts[name] = counts.get(name, 0) + count
        if batch.match is not None:
            right += int(((outcome.scores[task] > 0) == (batch.match > 0)).sum())
            answers += len(batch.match)
    return Judged(sum(value / max(counts[name], 1) for name, value in sums.items()), right, answers)
