"""Runs the real modules on the device `meta`, forward and backward, and counts."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F

from pretrain import kernels
from pretrain.config import Config
from pretrain.data.batch import TaskBatch
from pretrain.data.packing import StepData
from pretrain.engine.forwards import Forward, forwards, grouped
from pretrain.engine.host import plain_visual_attention
from pretrain.engine.shared_pictures import shared_pictures
from pretrain.kernels.attention import padded, ragged
from pretrain.kernels.workspace import Workspace
from pretrain.model.unix2 import UniX2
from pretrain.plan.counters import Counter, FlashAttention
from pretrain.plan.shapes import Shapes
from pretrain.tasks import token_loss
from pretrain.tasks.contrastive import FeatureGradient, feature_gradient
from pretrain.tasks.forward import Shown, features
from pretrain.tasks.forward import forward as run_forward

DTYPES = {'fp32': torch.float32, 'bf16': torch.bfloat16}


@dataclass(frozen=True)
class Trace:
    """One task's share of one step on one rank, or all tasks' where they run together."""

    flops: int  # of its matrix products, forward and backward
    moved: int  # bytes that its operations read and write, if none is fused with another
    activations: int  # bytes at the highest sum, beyond weights and gradients
    logits: int
    workspace: int  # of the logits: what the plain loss keeps for the next task

    @property
    def peak(self) -> int:
        return self.activations + self.logits


class Tracer:
    """A configuration's model without memory. `gpu`: with the kernels that a GPU would have (docs/train.md)."""

    def __init__(self, config: Config, vocabulary: int, gpu: bool) -> None:
        self.config, self.vocabulary, self.gpu, self.shapes = config, vocabulary, gpu, Shapes()
        with torch.device('meta'):
            self.model = UniX2(config.model, vocabulary).to(DTYPES[config.precision])
        plain_visual_attention(self.model, torch.device('cuda' if gpu else 'cpu'))
        for parameter in self.model.parameters():
            parameter.grad_dtype = torch.float32  # as pretrain/engine/zero.py
            parameter.grad = torch.empty_like(parameter, dtype=torch.float32)  # of the tasks before: gradients add up in place
        self.parameters = sum(parameter.numel() for parameter in self.model.parameters())

    def step(self, data: StepData, world: int) -> Trace:
        """Forwards and backwards of a rank's micro-batches, whose global batches are `world` times these."""
        known = [*self.model.parameters(), *self.model.buffers(), *(parameter.grad for parameter in self.model.parameters())]
        token_loss._workspace = Workspace()
        flash, counter = FlashAttention(), Counter(self.vocabulary, self.shapes)
        counter.ignore(tensor for tensor in known if tensor is not None)
        with self._kernels(flash), counter:
            gradients: dict[str, FeatureGradient] = {}
            share = self.config.mixture.share_images
            groups = grouped(forwards(data, self.config.batch.together), share)
            shared = shared_pictures(self.model, groups, torch.device('meta')) if share else {}
            for group in groups:
                pictures = shared.get(group[0].micro) if group[0].pictured else None
                for forward in group:
                    if forward.cached:
                        with torch.no_grad():
                            for micro, batch in enumerate(data[forward.name]):
                                features(self.model, batch, shared[micro].encoded() if shared else None)
                    self._backward(forward, data, world, gradients, None if pictures is None else pictures.shown())
                if pictures is not None:
                    pictures.backward()
        workspace, token_loss._workspace = token_loss._workspace.nbytes(), Workspace()
        parts = counter.peak_parts
        return Trace(counter.flops + flash.flops, counter.moved, parts['activations'], parts['logits'], workspace)

    def task(self, batches: list[TaskBatch], world: int) -> Trace:
        """`step` with one task alone."""
        return self.step({batches[0].task: batches}, world)

    def _backward(self, forward: Forward, data: StepData, world: int, gradients: dict[str, FeatureGradient], shown: Shown | None) -> None:
        """As pretrain/engine/step.py does it; `gradients` of contrastive parts are taken once a step."""
        outcome = run_forward(self.model, forward.batches, shown=shown)
        total = outcome.total
        for part, pair in outcome.features.items():
            if part not in gradients:
                samples = world * sum(map(len, data[part]))
                x, y = (side.detach().new_empty(samples, side.shape[1]) for side in pair)
                gradients[part] = feature_gradient(x, y, self.model.scale(), torch.eye(samples, dtype=torch.bool, device=x.device))
            gradient = gradients[part]
            own = [side[: len(pair[0])] for side in (gradient.x, gradient.y)]
            total = total + (pair[0] * own[0]).sum() + (pair[1] * own[1]).sum() + (self.model.scale() * gradient.scale).sum()
        total.backward()

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
