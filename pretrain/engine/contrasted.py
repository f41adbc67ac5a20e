"""Backward of a contrastive task by gradient caching: the negatives are the whole global batch, whatever ranks and micro-batches there are
(docs/method.md).

Features first (without graph when there are several micro-batches), then the loss of all of them and its gradient by feature, then that
gradient into the towers, run again with the same dropout where no graph was kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pretrain.data.batch import TaskBatch
from pretrain.engine.collectives import gather
from pretrain.engine.counts import task_of
from pretrain.model.unix2 import UniX2
from pretrain.tasks import CONTRASTIVE
from pretrain.tasks.contrastive import Contrast, FeatureGradient, feature_gradient
from pretrain.tasks.forward import Pair, Shown, features

if TYPE_CHECKING:
    from pretrain.engine.step import Dropout
    from pretrain.engine.zero import Engine


class Contrasted:
    """One contrastive part of a step: this rank's micro-batches of it, and the gradient of the global batch's loss by their features."""

    def __init__(self, engine: Engine, model: UniX2, batches: Sequence[TaskBatch], contrast: Contrast):
        self.engine, self.model, self.batches, self.contrast = engine, model, list(batches), contrast
        self.task = CONTRASTIVE[task_of(self.batches)]
        self.before = [sum(map(len, self.batches[:number])) for number in range(len(self.batches))]  # samples before each micro-batch
        self.gradient: FeatureGradient | None = None

    def cache(self, dropout: Dropout, shown: Callable[[int], Shown | None]) -> None:
        """Find the gradient from features of all micro-batches, which are not kept. `shown` gives what a micro-batch shares."""
        pairs = []
        for micro, batch in enumerate(self.batches):
            with torch.no_grad():
                states = shown(micro)
                dropout.seed(micro)
                pairs.append(features(self.model, batch.to(self.engine.device), states))
        self._find(pairs)

    def surrogate(self, pair: Pair, micro: int) -> tuple[Tensor, Tensor]:
        """(), whose gradient by the features `pair` of micro-batch `micro` is the loss's; and what is to be added to this rank's share of
        the loss, ().
        """
        if self.gradient is None:
            self._find([pair])
        assert self.gradient is not None
        gradient, world = self.gradient, self.engine.world
        start = self.engine.rank * (len(gradient.x) // world) + self.before[micro]
        own = slice(start, start + len(pair[0]))
        surrogate = (pair[0] * gradient.x[own]).sum() + (pair[1] * gradient.y[own]).sum()
        if micro:
            return surrogate, torch.zeros_like(gradient.loss)
        # Every rank knows the loss and the whole gradient of the scale: each contributes its share, once a step.
        surrogate = surrogate + (self.model.scale() * gradient.scale).sum() / world
        if gradient.bias is not None and self.model.logit_bias is not None:
            surrogate = surrogate + (self.model.logit_bias * gradient.bias).sum() / world
        return surrogate, gradient.loss / world

    def _find(self, pairs: Sequence[Pair]) -> None:
        x, y = (gather(torch.cat([pair[side].detach() for pair in pairs])) for side in (0, 1))
        # Identities alone: the pictures, nearly all of a batch, were copied to the device for the forward.
        keys = gather(torch.cat([self.task.keys(replace(batch, images=None).to(self.engine.device)) for batch in self.batches]))
        self.gradient = feature_gradient(x, y, self.model.scale(), self.task.positives(keys), self.model.logit_bias, self.contrast)
