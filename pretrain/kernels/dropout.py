"""Dropout. PyTorch's own draws a number per element with a generator that takes longer, on a CPU, than the matrix product around it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain.kernels.registry import Backend, Place, anywhere

Dropout = Callable[[Tensor, float, bool], Tensor]  # x, probability, training -> the shape and precision of x

LEVELS = 1 << 16  # probabilities are multiples of 1 / LEVELS


def sfc64(x: Tensor, probability: float, training: bool) -> Tensor:
    """Masks from numpy's SFC64, 16 bits an element, seeded by PyTorch's default generator: whatever reseeds that one repeats the mask."""
    if not training or probability == 0:
        return x
    out: Tensor = _Dropout.apply(x, probability)
    return out


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, probability: float) -> Tensor:
        seed = int(torch.empty((), dtype=torch.int64).random_())
        words = np.random.SFC64(seed).random_raw(-(-x.numel() // 4))  # of 64 bits: four elements each
        dropped = round(probability * LEVELS)
        kept = torch.from_numpy(words.view(np.uint16)[: x.numel()] >= dropped)
        # Through uint8: from bool PyTorch converts eight times slower.
        mask = kept.view(torch.uint8).to(x.dtype).mul_(LEVELS / (LEVELS - dropped)).view(x.shape)
        ctx.save_for_backward(mask)
        return x * mask

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (mask,) = ctx.saved_tensors
        return grad * mask, None


def _elsewhere(place: Place) -> str | None:
    return None if place.device.type == 'cpu' else 'it draws on the CPU'


BACKENDS = [Backend('sfc64', _elsewhere, lambda: sfc64), Backend('torch', anywhere, lambda: F.dropout)]
