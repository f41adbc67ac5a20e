"""Cross-entropy of a tied output layer, without ever holding the logits of all tokens.

The gradient is formed while the logits of a chunk are there (softmax minus one-hot), so that nothing is computed twice and the
memory is one chunk.
"""
from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pretrain import kernels

# fp32 logits held at a time: few enough to stay near a CPU's caches, with rows enough for an efficient matrix product at 250,000 tokens.
CHUNK_LOGITS = 2 * 1024 * 1024
MIN_ROWS = 256


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
        grad_weight = torch.zeros_like(weight, dtype=torch.float32) if wants else None
        grad_bias = torch.zeros_like(bias, dtype=torch.float32) if wants and bias is not None else None
        rows = max(MIN_ROWS, CHUNK_LOGITS // len(weight))
        for start in range(0, len(states), rows):
            chunk, target = states[start : start + rows], labels[start : start + rows, None]
            if not len(target):
                break
            logits = chunk @ weight.T
            if bias is not None:
                logits = logits.float() + bias.float()
            log_probabilities = torch.log_softmax(logits, 1, dtype=torch.float32)
            total -= log_probabilities[: len(target)].gather(1, target).sum()
            if grad_states is None or grad_weight is None:
                continue
            probabilities = log_probabilities.exp_()
            probabilities[: len(target)].scatter_add_(1, target, torch.full_like(target, -1, dtype=torch.float32))
            probabilities[len(target) :] = 0
            if grad_bias is not None:
                grad_bias += probabilities.sum(0)
            error = probabilities.to(states.dtype)
            grad_states[start : start + rows] = error @ weight
            grad_weight += error.T @ chunk
        if wants:
            ctx.save_for_backward(grad_states, grad_weight, grad_bias)
            ctx.dtypes = weight.dtype, None if bias is None else bias.dtype
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, Tensor, Tensor | None]:
        grad_states, grad_weight, grad_bias = ctx.saved_tensors
        weight_dtype, bias_dtype = ctx.dtypes
        scaled_bias = None if grad_bias is None else (grad_bias * grad).to(bias_dtype)
        return (grad_states * grad).to(grad_states.dtype), None, (grad_weight * grad).to(weight_dtype), scaled_bias
