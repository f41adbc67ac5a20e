"""Runs the real modules on the device `meta`, forward and backward, and counts."""
from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from pretrain import kernels
from pretrain.config import Config
from pretrain.data.batch import TaskBatch
from pretrain.engine.host import plain_visual_attention
from pretrain.kernels.attention import padded, ragged
from pretrain.kernels.workspace import Workspace
from pretrain.model.unix2 import UniX2
from pretrain.plan.counters import FlashAttention, MemoryCounter
from pretrain.tasks import CONTRASTIVE, SUMMED, token_loss
from pretrain.tasks.contrastive import feature_gradient

DTYPES = {'fp32': torch.float32, 'bf16': torch.bfloat16}


@dataclass(frozen=True)
class Trace:
    """One task's share of one step on one rank."""

    flops: int  # of its matrix products, forward and backward
    moved: int  # bytes that its operations read and write, if none is fused with another
    activations: int  # bytes at the highest sum, beyond weights and gradients
    logits: int
    workspace: int  # of the logits: what the plain loss keeps for the next task

    @property
    def peak(self) -> int:
        return self.activations + self.logits


class Tracer:
    """A configuration's model without memory. `gpu`: with the kernels that a GPU would have (docs/operations.md)."""

    def __init__(self, config: Config, vocabulary: int, gpu: bool) -> None:
        self.config, self.vocabulary, self.gpu = config, vocabulary, gpu
        with torch.device('meta'):
            self.model = UniX2(config.model, vocabulary).to(DTYPES[config.precision])
        plain_visual_attention(self.model, torch.device('cuda' if gpu else 'cpu'))
        for parameter in self.model.parameters():
            parameter.grad_dtype = torch.float32  # as pretrain/engine/zero.py
            parameter.grad = torch.empty_like(parameter, dtype=torch.float32)  # of the tasks before: gradients add up in place
        self.parameters = sum(parameter.numel() for parameter in self.model.parameters())

    def task(self, batches: list[TaskBatch], world: int) -> Trace:
        """Forward and backward of a rank's micro-batches of one task, whose global batch is `world` times these."""
        known = [*self.model.parameters(), *self.model.buffers(), *(parameter.grad for parameter in self.model.parameters())]
        token_loss._workspace = Workspace()
        flash, flops, memory = FlashAttention(), FlopCounterMode(display=False), MemoryCounter(self.vocabulary)
        memory.ignore(tensor for tensor in known if tensor is not None)
        with self._kernels(flash), flops, memory:
            if batches[0].task in CONTRASTIVE:
                self._contrastive(batches, world)
            else:
                for batch in batches:
                    sums = SUMMED[batch.task].sums(self.model, batch)
                    torch.stack(list(sums.values())).sum().backward()
                    del sums
        workspace, token_loss._workspace = token_loss._workspace.nbytes(), Workspace()
        counted = flops.get_total_flops() + flash.flops
        return Trace(counted, memory.moved, memory.peak_parts['activations'], memory.peak_parts['logits'], workspace)

    def _contrastive(self, batches: list[TaskBatch], world: int) -> None:
        """Gradient caching, as pretrain/engine/step.py does it."""
        task, keep_graph = CONTRASTIVE[batches[0].task], len(batches) == 1
        pairs = []
        for batch in batches:
            with torch.set_grad_enabled(keep_graph):
                pairs.append(task.features(self.model, batch))
        x, y = (torch.cat([pair[side].detach() for pair in pairs]).repeat(world, 1) for side in (0, 1))
        gradient = feature_gradient(x, y, self.model.scale(), torch.eye(len(x), dtype=torch.bool, device=x.device))
        for number, batch in enumerate(batches):
            pair = pairs[number] if keep_graph else task.features(self.model, batch)
            own: list[Tensor] = [part[: len(pair[0])] for part in (gradient.x, gradient.y)]
            ((pair[0] * own[0]).sum() + (pair[1] * own[1]).sum() + (self.model.scale() * gradient.scale).sum()).backward()

    @contextmanager
    def _kernels(self, flash: FlashAttention) -> Iterator[None]:
        """On a GPU: attention of ragged rows and the fused loss (whose kernel is not run on `meta`); on a CPU: what runs there."""
        before, attention = dict(kernels._used), F.scaled_dot_product_attention
        fused = self.gpu and importlib.util.find_spec('triton')
        loss = importlib.import_module('pretrain.kernels.triton_token_loss').triton_token_loss if fused else None
        kernels._used.update(attention=partial(ragged, flash.ragged) if self.gpu else padded, token_loss=loss, dropout=F.dropout)
        if self.gpu:
            F.scaled_dot_product_attention = flash.padded  # type: ignore[assignment]  # of the ViT
        try:
            yield
        finally:
            F.scaled_dot_product_attention = attention
            kernels._used.update(before)
