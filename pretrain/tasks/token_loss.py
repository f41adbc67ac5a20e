"""Cross-entropy of a tied output layer, without ever holding the logits of all tokens.

The gradient is formed while the logits of a chunk are there (softmax minus one-hot), so that nothing is computed twice and the
memory is one chunk.
"""
from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pretrain import kernels
from pretrain.kernels.workspace import Workspace
from pretrain.model.gradients import scaled_gradient

CHUNK_LOGITS = 16 * 1024 * 1024  # at a time, in fp32 and in the weights' precision
MIN_ROWS = 128  # of an efficient matrix product at 250,000 tokens
ADDED_AT_ONCE = 1024 * 1024  # elements: a sum in two precisions converts one of them first, here within a CPU's caches

_workspace = Workspace()


def token_loss(states: Tensor, labels: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Sum over tokens of -log softmax(states @ weight.T + bias)[label], fp32, differentiable in states, weight and bias.

    states (N or more, D): rows behind the labels are idle; labels (N,) int64, weight (V, D), bias (V,). N may be 0: the sum is 0 and every
    gradient zero. The softmax runs in fp32.
    """
    fused = kernels.fused_token_loss()
    out: Tensor = fused(states, labels, weight, bias) if fused else _TokenLoss.apply(states, labels, weight, bias)
    return out


class _TokenLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, labels: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        wants = any(ctx.needs_input_grad)
        total = states.new_zeros((), dtype=torch.float32)
        grad_states = torch.zeros_like(states) if wants else None
        grad_weight = _workspace.take(weight.shape, torch.float32, weight.device).zero_() if wants else None
        grad_bias = torch.zeros_like(bias, dtype=torch.float32) if wants and bias is not None else None
        rows = max(MIN_ROWS, CHUNK_LOGITS // len(weight))
        for start in range(0, len(labels), rows):
            chunk, target = states[start : start + rows], labels[start : start + rows, None]
            total += _chunk_loss(chunk, target, weight, bias, wants)
            if grad_states is None or grad_weight is None:
                continue
            error = _workspace.buffer('error', (len(chunk), len(weight)), states.dtype, states.device)
            probabilities = _workspace.buffer('probabilities', error.shape, torch.float32, states.device)
            if grad_bias is not None:
                grad_bias += probabilities.sum(0)
            error.copy_(probabilities)
            torch.mm(error, weight, out=grad_states[start : start + rows])
            add(grad_weight, torch.mm(error.T, chunk, out=_workspace.buffer('product', weight.shape, weight.dtype, weight.device)))
        if wants:
            ctx.save_for_backward(grad_states, grad_bias)
            ctx.weight, ctx.grad_weight = weight, grad_weight
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, Tensor | None, Tensor | None]:
        grad_states, grad_bias = ctx.saved_tensors
        grad_weight = scaled_gradient(ctx.weight, ctx.grad_weight, grad)
        if grad_weight is None:
            _workspace.give_back(ctx.grad_weight)
        return grad_states * grad.to(grad_states.dtype), None, grad_weight, None if grad_bias is None else grad_bias * grad


def _chunk_loss(chunk: Tensor, target: Tensor, weight: Tensor, bias: Tensor | None, wants_gradient: bool) -> Tensor:
    """Sum of -log p over the rows (R, D) that have a `target` (R or fewer, 1); () fp32.

    Leaves the gradient by the logits, (R, V), in the workspace's `probabilities`.
    """
    shape = (len(chunk), len(weight))
    logits = torch.mm(chunk, weight.T, out=_workspace.buffer('error', shape, chunk.dtype, chunk.device))
    if bias is not None:
        logits = logits.float().add_(bias.float())
    # The logarithm of one sum a row, from the largest logit, whose probability cannot vanish: not of every probability.
    largest, where = logits.max(1, keepdim=True)
    probabilities = _workspace.buffer('probabilities', shape, torch.float32, chunk.device)
    torch.softmax(logits, 1, dtype=torch.float32, out=probabilities)
    log_sums = largest.float() - probabilities.gather(1, where).log()
    count = len(target)
    loss = (log_sums[:count] - logits[:count].gather(1, target).float()).sum()
    if wants_gradient:
        probabilities[:count].scatter_add_(1, target, torch.full_like(target, -1, dtype=torch.float32))
        probabilities[count:] = 0
    return loss


def add(total: Tensor, part: Tensor) -> None:
    """total += part, both (V, D), in blocks when a conversion is part of it."""
    if total.dtype == part.dtype or total.is_cuda:
        total += part
        return
    rows = max(1, ADDED_AT_ONCE // total.shape[1])
    for block, piece in zip(total.split(rows), part.split(rows), strict=True):
        block += piece
