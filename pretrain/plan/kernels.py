"""Which kernels a run would have, and stand-ins for those that cannot run on the device `meta`.

Assumed is a GPU with FlashAttention and triton, an A100 as the lock file sets it up, whatever the machine that plans has.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch.nn.functional as F
from torch import Tensor

from pretrain import kernels
from pretrain.config import Config
from pretrain.kernels.attention import LARGEST_HEAD, padded, ragged
from pretrain.kernels.chunked_loss import chunked_token_loss
from pretrain.kernels.token_loss import Segment
from pretrain.plan.counters import FlashAttention
from shards.errors import UserError

PEAK_TFLOPS = {'bf16': 312.0, 'fp32': 19.5}  # of an A100, dense; fp32 without TF32, which the run does not switch on
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
    """Triton's loss, which liger's is about, without what its kernel computes."""
    return chunked_token_loss(lambda *chunk: None, states, labels, weight, bias, segments)
