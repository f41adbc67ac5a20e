"""Cross-entropy of a tied output layer with one kernel per chunk of logits: loss, softmax and its gradient in place.

In PyTorch the same takes eight passes over the chunk. Matrix products are left to PyTorch. Under TRITON_INTERPRET=1 it runs on a CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from pretrain.kernels.token_loss import IGNORED, Segment, idle_labels, row_factors, wants_gradient
from pretrain.model.gradients import scaled_gradient

CHUNK_BYTES = 1 << 30  # of logits: with 250,000 tokens in bf16 some 2,000 rows, enough for a GPU's matrix products
BLOCK = 4096


@triton.jit
def _loss_and_gradient(  # type: ignore[no-untyped-def]
    logits, bias, labels, factors, losses, columns, HAS_BIAS: tl.constexpr, IGNORED: tl.constexpr, BLOCK: tl.constexpr
):
    """A row a program: losses[row] = -log softmax(logits[row] + bias)[label]; logits[row] becomes (softmax minus one-hot) * factors[row],
    0 if ignored."""
    row = tl.program_id(0).to(tl.int64)
    label = tl.load(labels + row)
    start = logits + row * columns
    offsets = tl.arange(0, BLOCK)
    if label == IGNORED:
        for first in range(0, columns, BLOCK):
            tl.store(start + first + offsets, tl.zeros([BLOCK], logits.dtype.element_ty), mask=first + offsets < columns)
        tl.store(losses + row, 0.0)
        return
    top = tl.full([BLOCK], float('-inf'), tl.float32)  # online softmax, a lane a sum; joined at the end
    total = tl.zeros([BLOCK], tl.float32)
    for first in range(0, columns, BLOCK):
        inside = first + offsets < columns
        x = tl.load(start + first + offsets, mask=inside, other=float('-inf')).to(tl.float32)
        if HAS_BIAS:
            x += tl.load(bias + first + offsets, mask=inside, other=0.0).to(tl.float32)
        higher = tl.maximum(top, x)
        # A lane that has seen nothing yet: -inf minus -inf is not a number.
        kept = tl.where(higher == float('-inf'), 0.0, higher)
        total = total * tl.exp(top - kept) + tl.exp(x - kept)
        top = higher
    highest = tl.max(top, 0)
    log_sum = tl.log(tl.sum(total * tl.exp(top - highest), 0)) + highest
    at_label = tl.load(start + label).to(tl.float32)
    if HAS_BIAS:
        at_label += tl.load(bias + label).to(tl.float32)
    tl.store(losses + row, log_sum - at_label)
    factor = tl.load(factors + row)
    for first in range(0, columns, BLOCK):
        inside = first + offsets < columns
        x = tl.load(start + first + offsets, mask=inside, other=float('-inf')).to(tl.float32)
        if HAS_BIAS:
            x += tl.load(bias + first + offsets, mask=inside, other=0.0).to(tl.float32)
        probability = tl.exp(x - log_sum) - tl.where(first + offsets == label, 1.0, 0.0)
        tl.store(start + first + offsets, (probability * factor).to(logits.dtype.element_ty), mask=inside)


def triton_token_loss(
    states: Tensor, labels: Tensor, weight: Tensor, bias: Tensor | None, segments: Sequence[Segment]
) -> tuple[Tensor, Tensor]:
    """`pretrain.tasks.token_loss.token_loss`, fused."""
    total, sums = _Function.apply(states, labels, weight, bias, segments, wants_gradient(states, weight, bias))
    return total, sums


class _Function(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, states: Tensor, labels: Tensor, weight: Tensor, bias: Tensor | None, segments: Sequence[Segment], wants: bool
    ) -> tuple[Tensor, Tensor]:
        targets = idle_labels(states, labels)
        losses = states.new_zeros(len(states), dtype=torch.float32)
        factors = F.pad(row_factors(segments, states.device), (0, len(states) - len(labels)))
        grad_states = torch.empty_like(states) if wants else None
        grad_weight = torch.zeros_like(weight, dtype=torch.float32) if wants else None
        grad_bias = torch.zeros_like(bias, dtype=torch.float32) if wants and bias is not None else None
        columns = len(weight)
        rows = max(1, CHUNK_BYTES // (columns * states.element_size()))
        for start in range(0, len(states), rows):
            chunk, some = states[start : start + rows], slice(start, start + rows)
            logits = chunk @ weight.T
            if not logits.is_meta:  # where `pretrain plan` counts bytes, nothing is computed
                _loss_and_gradient[(len(chunk),)](
                    logits, weight if bias is None else bias, targets[some], factors[some], losses[some], columns,
                    HAS_BIAS=bias is not None, IGNORED=IGNORED, BLOCK=min(BLOCK, triton.next_power_of_2(columns)),
                )  # fmt: skip
            if grad_states is None or grad_weight is None:
                continue
            torch.mm(logits, weight, out=grad_states[some])
            grad_weight += logits.T @ chunk
            if grad_bias is not None:
                grad_bias += logits.sum(0, dtype=torch.float32)
        if wants:
            ctx.save_for_backward(grad_states, grad_bias)
            ctx.weight, ctx.grad_weight = weight, grad_weight
        sums = torch.stack([part.sum() for part in losses[: len(labels)].split([segment.length for segment in segments])])
        ctx.mark_non_differentiable(sums)
        return (losses * factors).sum(), sums

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        grad_states, grad_bias = ctx.saved_tensors
        grad_weight = scaled_gradient(ctx.weight, ctx.grad_weight, grad)
        return (grad_states * grad).to(grad_states.dtype), None, grad_weight, None if grad_bias is None else grad_bias * grad, None, None
