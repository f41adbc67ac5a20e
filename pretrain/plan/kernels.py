"""Which kernels a run would have, and stand-ins for those that cannot run on the device `meta`.

Assumed is a GPU with FlashAttention and triton, an A100 as the lock file sets it up, whatever the machine that plans has.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain import kernels
from pretrain.config import Config
from pretrain.kernels.attention import LARGEST_HEAD, padded, ragged
from pretrain.kernels.token_loss import Segment, idle_labels, row_factors
from pretrain.model.gradients import scaled_gradient
from pretrain.plan.counters import FlashAttention
from shards.errors import UserError

PEAK_TFLOPS = {'bf16': 312.0, 'fp32': 19.5}  # of an A100, dense; fp32 without TF32, which the run does not switch on
CHUNK_BYTES = 1 << 30  # as in pretrain/kernels/triton_token_loss.py, which only a machine with triton can import
_BF16_ONLY = ('flash', 'varlen')
_CPU_ONLY = {'attention': 'cpu', 'dropout': 'sfc64'}


def check_kernels(config: Config) -> None:
    """Raises UserError for a kernel that the run would refuse on a GPU."""
    for operation, name in _CPU_ONLY.items():
        if getattr(config.kernels, operation) == name:
            raise UserError(f'kernels.{operation} = {name} is for a CPU, the plan is for GPUs; choose auto')
    chosen, head = config.kernels.attention, config.model.dim // config.model.heads
    if config.precision != 'bf16' and chosen in _BF16_ONLY:
        raise UserError(f'kernels.attention = {chosen} computes in bf16, the run in {config.precision}; choose auto')
    if head > LARGEST_HEAD and chosen in _BF16_ONLY:
        raise UserError(f'kernels.attention = {chosen} needs heads of at most {LARGEST_HEAD}, not {head}; choose auto')


def takes_ragged_rows(config: Config) -> bool:
    """Whether attention on a GPU takes rows of any length, or pads them."""
    chosen = config.kernels.attention
    fits = config.precision == 'bf16' and config.model.dim // config.model.heads <= LARGEST_HEAD
    return chosen != 'torch' and (chosen != 'auto' or fits)


@contextmanager
def used(config: Config, gpu: bool, flash: FlashAttention) -> Iterator[None]:
    """With the kernels of a GPU, or with what the plan can trace of a CPU's: padded attention in plain products, plain loss and dropout.

    PyTorch's own attention keeps no scores on a GPU either, in fp32 as in bf16 (its memory-efficient kernel takes masks).
    """
    attention = partial(ragged, flash.ragged) if gpu and takes_ragged_rows(config) else padded
    loss = fused_token_loss if gpu and config.kernels.token_loss != 'torch' else None
    before, product = dict(kernels._used), F.scaled_dot_product_attention
    kernels._used.update(attention=attention, token_loss=loss, dropout=F.dropout)
    if gpu:
        F.scaled_dot_product_attention = flash.padded  # type: ignore[assignment]
    try:
        yield
    finally:
        F.scaled_dot_product_attention = product
        kernels._used.update(before)


def fused_token_loss(
    states: Tensor, labels: Tensor, weight: Tensor, bias: Tensor | None, segments: Sequence[Segment]
) -> tuple[Tensor, Tensor]:
    """The tensors of pretrain/kernels/triton_token_loss.py, which liger's are about, without what its kernel computes."""
    total, sums = _Fused.apply(states, labels, weight, bias, segments)
    return total, sums


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, states: Tensor, labels: Tensor, weight: Tensor, bias: Tensor | None, segments: Sequence[Segment]
    ) -> tuple[Tensor, Tensor]:
        _targets, losses = idle_labels(states, labels), states.new_zeros(len(states), dtype=torch.float32)
        factors = F.pad(row_factors(segments, states.device), (0, len(states) - len(labels)))
        grad_states, grad_weight = torch.empty_like(states), torch.zeros_like(weight, dtype=torch.float32)
        grad_bias = None if bias is None else torch.zeros_like(bias, dtype=torch.float32)
        rows = max(1, CHUNK_BYTES // (len(weight) * states.element_size()))
        for start in range(0, len(states), rows):
            chunk = states[start : start + rows]
            logits = chunk @ weight.T
            torch.mm(logits, weight, out=grad_states[start : start + rows])
            grad_weight += logits.T @ chunk
            if grad_bias is not None:
                grad_bias += logits.sum(0, dtype=torch.float32)
        ctx.save_for_backward(grad_states, grad_bias)
        ctx.weight, ctx.grad_weight = weight, grad_weight
        sums = torch.stack([part.sum() for part in losses[: len(labels)].split([segment.length for segment in segments])])
        ctx.mark_non_differentiable(sums)
        return (losses * factors).sum(), sums

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        grad_states, grad_bias = ctx.saved_tensors
        grad_weight = scaled_gradient(ctx.weight, ctx.grad_weight, grad)
        return (grad_states * grad).to(grad_states.dtype), None, grad_weight, None if grad_bias is None else grad_bias * grad, None
