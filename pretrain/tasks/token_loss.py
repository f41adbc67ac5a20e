"""Cross-entropy of a tied output layer, without ever holding the logits of all tokens.

The gradient is formed while the logits of a chunk are there (softmax minus one-hot), so that nothing is computed twice and the
memory is one chunk.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pretrain import kernels
from pretrain.kernels.token_loss import Segment, row_factors, total_and_sums, wants_gradient
from pretrain.kernels.workspace import Workspace
from pretrain.model.gradients import scaled_gradient

CHUNK_LOGITS = 16 * 1024 * 1024  # at a time in the weights' precision
BLOCK_LOGITS = 1024 * 1024  # at a time in fp32: within a CPU's caches
MIN_ROWS = 128  # of an efficient matrix product at 250,000 tokens
ADDED_AT_ONCE = 1024 * 1024  # elements: a sum in two precisions converts one of them first, here within a CPU's caches

_workspace = Workspace()


def token_loss(
    states: Tensor, labels: Tensor, weight: Tensor, bias: Tensor | None = None, segments: Sequence[Segment] | None = None
) -> tuple[Tensor, Tensor]:
    """Sums of -log softmax(states @ weight.T + bias)[label] over the tokens of each segment.

    states (N or more, D): rows behind the labels are idle; labels (N,) int64, weight (V, D), bias (V,); segments (S), whose lengths add
    up to N (none: one of N). Returns the sums times their factors, added up: () fp32, differentiable in states, weight and bias; and the
    sums themselves: (S,) fp32, without gradient. N may be 0: the sum is 0 and every gradient zero. The softmax runs in fp32.
    """
    segments = segments or [Segment(len(labels), 1.0)]
    fused = kernels.fused_token_loss()
    if fused:
        return fused(states, labels, weight, bias, segments)
    total, sums = _TokenLoss.apply(states, labels, weight, bias, segments, wants_gradient(states, weight, bias))
    return total, sums


class _TokenLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, states: Tensor, labels: Tensor, weight: Tensor, bias: Tensor | None, segments: Sequence[Segment], wants: bool
    ) -> tuple[Tensor, Tensor]:
        losses = states.new_empty(len(labels), dtype=torch.float32)
        factors = row_factors(segments, states.device)
        grad_states = torch.zeros_like(states) if wants else None
        grad_weight = _workspace.take(weight.shape, torch.float32, weight.device).zero_() if wants else None
        grad_bias = torch.zeros_like(bias, dtype=torch.float32) if wants and bias is not None else None
        rows = max(MIN_ROWS, CHUNK_LOGITS // len(weight))
        for start in range(0, len(labels), rows):
            chunk, targets = states[start : start + rows], slice(start, start + rows)
            error = torch.mm(chunk, weight.T, out=_workspace.buffer('error', (len(chunk), len(weight)), chunk.dtype, chunk.device))
            _losses(error, labels[targets], losses[targets], factors[targets], bias, grad_bias, wants)
            if grad_states is None or grad_weight is None:
                continue
            torch.mm(error, weight, out=grad_states[start : start + rows])
            add(grad_weight, torch.mm(error.T, chunk, out=_workspace.buffer('product', weight.shape, weight.dtype, weight.device)))
        if wants:
            ctx.save_for_backward(grad_states, grad_bias)
            ctx.weight, ctx.grad_weight = weight, grad_weight
        return total_and_sums(ctx, losses, factors, segments)

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        grad_states, grad_bias = ctx.saved_tensors
        grad_weight = scaled_gradient(ctx.weight, ctx.grad_weight, grad)
        if grad_weight is None:
            _workspace.give_back(ctx.grad_weight)
        return grad_states * grad.to(grad_states.dtype), None, grad_weight, None if grad_bias is None else grad_bias * grad, None, None


def _losses(
    logits: Tensor, labels: Tensor, losses: Tensor, factors: Tensor, bias: Tensor | None, grad_bias: Tensor | None, wants_gradient: bool
) -> None:
    """Writes -log p(label) of every labelled row into `losses` (R,) and, in place of `logits` (R or more, V), the gradient of their sum
    times `factors` (R,); idle rows get 0. Adds to `grad_bias`.
    """
    columns = logits.shape[1]
    rows = len(labels) if logits.is_cuda else max(1, BLOCK_LOGITS // columns)
    for start in range(0, len(labels), rows):
        block = slice(start, min(start + rows, len(labels)))
        target, factor = labels[block, None], factors[block, None]
        values = _workspace.buffer('values', (len(target), columns), torch.float32, logits.device).copy_(logits[block])
        if bias is not None:
            values += bias
        at_target, largest = values.gather(1, target), values.amax(1, keepdim=True)
        torch.softmax(values, 1, out=values)
        # The logarithm of one sum a row, from the largest logit, whose probability cannot vanish: not of every probability.
        losses[block] = (largest - values.amax(1, keepdim=True).log() - at_target).squeeze(1)
        if wants_gradient:
            values.scatter_(1, target, values.gather(1, target) - 1).mul_(factor)
            logits[block] = values
            if grad_bias is not None:
                grad_bias += values.sum(0)
    logits[len(labels) :] = 0


def add(total: Tensor, part: Tensor) -> None:
    """total += part, both (V, D), in blocks when a conversion is part of it."""
    if total.dtype == part.dtype or total.is_cuda:
        total += part
        return
    rows = max(1, ADDED_AT_ONCE // total.shape[1])
    for block, piece in zip(total.split(rows), part.split(rows), strict=True):
        block += _workspace.buffer('converted', tuple(piece.shape), total.dtype, total.device).copy_(piece)
