"""Gradients that are not autograd's own: of the token table and of positions, and of a clamped scale.

The token table is large and used by every task many times a step: its gradients are added where they belong, not through autograd.
A gradient that a parameter already holds in fp32 (pretrain/engine/zero.py) is added to in place. Autograd would make a dense gradient of
the whole table at each use, in the weights' precision, only to add it.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def holds_gradient(weight: Tensor) -> bool:
    """Whether a gradient in fp32 is there to add to."""
    return weight.is_leaf and weight.grad is not None and weight.grad.dtype == torch.float32


def scaled_gradient(weight: Tensor, gradient: Tensor, scale: Tensor) -> Tensor | None:
    """For a backward: what to return as the gradient of `weight`, `gradient` (its shape, fp32) times `scale` (); None when it is added."""
    if holds_gradient(weight):
        assert weight.grad is not None
        weight.grad.addcmul_(gradient, scale)
        return None
    return gradient.mul_(scale)


class Clamped(torch.autograd.Function):
    """min(x, highest). Beyond it torch.clamp has no gradient, so that what a step has carried there never returns. Here a gradient passes
    that a descent follows downwards, as when the parameter itself is set back after an update (CLIP, arXiv 2103.00020, section 2.5).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, highest: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.highest = highest
        return x.clamp(max=highest)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return grad.where((x <= ctx.highest) | (grad > 0), torch.zeros_like(grad)), None


class Embedding(torch.autograd.Function):
    """weight[ids]: ids (T,) int64, weight (V, D) -> (T, D)."""

    @staticmethod
    def forward(ctx: Any, ids: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(ids)
        ctx.weight = weight
        return F.embedding(ids, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor | None]:
        (ids,) = ctx.saved_tensors
        held = holds_gradient(ctx.weight)
        total = ctx.weight.grad if held else torch.zeros_like(ctx.weight, dtype=torch.float32)
        # Both add in a fixed order; index_add_ does not on a GPU.
        if grad.is_cuda:
            total.index_put_((ids,), grad.float(), accumulate=True)
        else:
            total.index_add_(0, ids, grad.float())
        return None, None if held else total
