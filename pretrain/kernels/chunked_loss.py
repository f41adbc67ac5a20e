"""Cross-entropy of a tied output layer, a chunk of logits at a time, around a kernel that makes a chunk's losses and gradient in place.

Matrix products are PyTorch's. The kernel is triton's (triton_token_loss.py), or none where `pretrain plan` counts what is held.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain.kernels.token_loss import Segment, idle_labels, row_factors, total_and_sums, wants_gradient
from pretrain.model.gradients import scaled_gradient

CHUNK_BYTES = 1 << 30  # of logits: with 250,000 tokens in bf16 some 2,000 rows, enough for a GPU's matrix products

# logits (n, V), bias (V,), labels (n,), factors (n,), losses (n,): fills losses; logits become the gradient of losses * factors
Kernel = Callable[[Tensor, Tensor | None, Tensor, Tensor, Tensor], None]


def chunked_token_loss(
    kernel: Kernel, states: Tensor, labels: Tensor, weight: Tensor, bias: Tensor | None, segments: Sequence[Segment]
) -> tuple[Tensor, Tensor]:
    """`pretrain.tasks.token_loss.token_loss` by `kernel`."""
    total, sums = _ChunkedLoss.apply(kernel, states, labels, weight, bias, segments, wants_gradient(states, weight, bias))
    return total, sums


class _ChunkedLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        kernel: Kernel,
        states: Tensor,
        labels: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        segments: Sequence[Segment],
        wants: bool,
    ) -> tuple[Tensor, Tensor]:
        targets = idle_labels(states, labels)
        losses = states.new_zeros(len(states), dtype=torch.float32)
        factors = F.pad(row_factors(segments, states.device), (0, len(states) - len(labels)))
        grad_states = torch.empty_like(states) if wants else None
        grad_weight = torch.zeros_like(weight, dtype=torch.float32) if wants else None
        grad_bias = torch.zeros_like(bias, dtype=torch.float32) if wants and bias is not None else None
        rows = max(1, CHUNK_BYTES // (len(weight) * states.element_size()))
        for start in range(0, len(states), rows):
            chunk, some = states[start : start + rows], slice(start, start + rows)
            logits = chunk @ weight.T
            kernel(logits, bias, targets[some], factors[some], losses[some])
            if grad_states is None or grad_weight is None:
                continue
            torch.mm(logits, weight, out=grad_states[some])
            grad_weight += logits.T @ chunk
            if grad_bias is not None:
                grad_bias += logits.sum(0, dtype=torch.float32)
        if wants:
            ctx.save_for_backward(grad_states, grad_bias)
            ctx.weight, ctx.grad_weight = weight, grad_weight
        return total_and_sums(ctx, losses[: len(labels)], factors[: len(labels)], segments)

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        grad_states, grad_bias = ctx.saved_tensors
        grad_weight = scaled_gradient(ctx.weight, ctx.grad_weight, grad)
        scaled_bias = None if grad_bias is None else grad_bias * grad
        return None, (grad_states * grad).to(grad_states.dtype), None, grad_weight, scaled_bias, None, None
