"""Runs the real modules on the device `meta`, forward and backward, and counts."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, replace

import torch

from pretrain.config import Config
from pretrain.data.batch import TaskBatch
from pretrain.data.packing import StepData
from pretrain.engine.forwards import Forward, forwards, grouped
from pretrain.engine.host import plain_visual_attention
from pretrain.engine.shared_pictures import shared_pictures
from pretrain.kernels.workspace import Workspace
from pretrain.model.unix2 import UniX2
from pretrain.plan.counters import Counter, FlashAttention
from pretrain.plan.kernels import check_kernels, used
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
    workspace: dict[Hashable, int]  # of the logits: buffers that the plain loss keeps for the next task, and their bytes

    @property
    def peak(self) -> int:
        return self.activations + self.logits


def together(workspaces: Iterable[dict[Hashable, int]]) -> int:
    """Bytes of the buffers of several tasks: of each the largest."""
    most: dict[Hashable, int] = {}
    for workspace in workspaces:
        most |= {name: max(size, most.get(name, 0)) for name, size in workspace.items()}
    return sum(most.values())


class Tracer:
    """A configuration's model without memory. `gpu`: with the kernels that an A100 would have (docs/train.md), which UserError refuses as
    the run would."""

    def __init__(self, config: Config, vocabulary: int, gpu: bool) -> None:
        self.config, self.vocabulary, self.gpu, self.shapes = config, vocabulary, gpu, Shapes()
        if gpu:
            check_kernels(config)
        with torch.device('meta'):
            self.model = UniX2(config.model, vocabulary).to(DTYPES[config.precision])
        plain_visual_attention(self.model, torch.device('cuda' if gpu else 'cpu'))
        for parameter in self.model.parameters():
            parameter.grad_dtype = torch.float32  # as pretrain/engine/zero.py
            parameter.grad = torch.empty_like(parameter, dtype=torch.float32)  # of the tasks before: gradients add up in place
        self.parameters = sum(parameter.numel() for parameter in self.model.parameters())

    def step(self, data: StepData, world: int) -> Trace:
        """Forwards and backwards of a rank's micro-batches, whose global batches are `world` times these; of a contrast at least as large
        as the configuration's. Memory is the most of a first step and of those after it, which find the loss's buffers made.
        """
        token_loss._workspace = Workspace()
        first = self._step(data, world)
        held = sum(first.workspace.values())
        after = self._step(data, world) if held else first
        token_loss._workspace = Workspace()
        if not held or after.peak + held <= first.peak:
            return first
        return replace(first, activations=after.activations, logits=after.logits + held)

    def _step(self, data: StepData, world: int) -> Trace:
        known = [*self.model.parameters(), *self.model.buffers(), *(parameter.grad for parameter in self.model.parameters())]
        flash, counter = FlashAttention(), Counter(self.vocabulary, self.shapes)
        counter.ignore(tensor for tensor in [*known, *token_loss._workspace.tensors()] if tensor is not None)
        with used(self.config, self.gpu, flash), counter:
            if self.config.task.itm_negatives == 'hard':
                self._choose_negatives(data)
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
        parts, workspace = counter.peak_parts, token_loss._workspace.sizes()
        return Trace(counter.flops + flash.flops, counter.moved, parts['activations'], parts['logits'], workspace)

    def task(self, batches: list[TaskBatch], world: int) -> Trace:
        """`step` with one task alone."""
        return self.step({batches[0].task: batches}, world)

    def _choose_negatives(self, data: StepData) -> None:
        """As pretrain/engine/hard_negatives.py does it: features of all ITM's pairs, then pictures of two ranks and those that come of
        them."""
        self.model.eval()
        for batches in (batches for batches in data.values() if batches[0].task == 'itm'):
            with torch.no_grad():
                for batch in batches:
                    assert batch.images is not None
                    self.model.image_features(batch.images)
                    self.model.text_features(batch.text)
            own = torch.cat([batch.images for batch in batches if batch.images is not None])
            _others, _chosen = torch.empty_like(own), torch.empty_like(own)
        self.model.train()

    def _backward(self, forward: Forward, data: StepData, world: int, gradients: dict[str, FeatureGradient], shown: Shown | None) -> None:
        """As pretrain/engine/step.py does it; `gradients` of contrastive parts are taken once a step."""
        outcome = run_forward(self.model, forward.batches, shown=shown)
        total = outcome.total
        for part, pair in outcome.features.items():
            if part not in gradients:
                task = data[part][0].task
                samples = max(world * sum(map(len, data[part])), self.config.batch.size(task))
                x, y = (side.detach().new_empty(samples, side.shape[1]) for side in pair)
                gradients[part] = feature_gradient(x, y, self.model.scale(), torch.eye(samples, dtype=torch.bool, device=x.device))
            gradient = gradients[part]
            own = [side[: len(pair[0])] for side in (gradient.x, gradient.y)]
            total = total + (pair[0] * own[0]).sum() + (pair[1] * own[1]).sum() + (self.model.scale() * gradient.scale).sum()
        total.backward()
