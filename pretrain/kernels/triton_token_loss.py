"""Cross-entropy of a tied output layer with one kernel per chunk of logits: loss, softmax and its gradient in place.

In PyTorch the same takes eight passes over the chunk. Under TRITON_INTERPRET=1 it runs on a CPU.
"""

from __future__ import annotations

from collections.abc import Sequence

import triton
import triton.language as tl
from torch import Tensor

from pretrain.kernels.chunked_loss import chunked_token_loss
from pretrain.kernels.token_loss import IGNORED, Segment

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


def _kernel(logits: Tensor, bias: Tensor | None, labels: Tensor, factors: Tensor, losses: Tensor) -> None:
    columns = logits.shape[1]
    _loss_and_gradient[(len(logits),)](
        logits, logits if bias is None else bias, labels, factors, losses, columns,
        HAS_BIAS=bias is not None, IGNORED=IGNORED, BLOCK=min(BLOCK, triton.next_power_of_2(columns)),
    )  # fmt: skip


def triton_token_loss(
    states: Tensor, labels: Tensor, weight: Tensor, bias: Tensor | None, segments: Sequence[Segment]
) -> tuple[Tensor, Tensor]:
    """`pretrain.tasks.token_loss.token_loss`, fused."""
    return chunked_token_loss(_kernel, states, labels, weight, bias, segments)
