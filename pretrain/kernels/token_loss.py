"""Backends of pretrain/tasks/token_loss.py's sums of cross-entropies over a tied output layer."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain.kernels.registry import Backend, Place, anywhere, lacks_cuda, lacks_module
from pretrain.model.packed import sent

IGNORED = -100


class Segment(NamedTuple):
    """Some of the labels, one after the other, that make one sum."""

    length: int
    factor: float  # of the sum, in the total


# states (N or more, D), labels (N,), weight (V, D), bias (V,), segments (S) -> total (), sums (S,)
TokenLoss = Callable[[Tensor, Tensor, Tensor, Tensor | None, Sequence[Segment]], tuple[Tensor, Tensor]]


def row_factors(segments: Sequence[Segment], device: torch.device) -> Tensor:
    """(N,) fp32: the factor of every label."""
    lengths = [segment.length for segment in segments]
    few = torch.tensor([segment.factor for segment in segments], dtype=torch.float32)
    return sent(few.repeat_interleave(torch.tensor(lengths), output_size=sum(lengths)), device)


def wants_gradient(*inputs: Tensor | None) -> bool:
    """Whether a backward will follow. To be asked before an autograd function is applied: inside, gradients are always off, and
    `needs_input_grad` is true of a parameter also where the caller has turned them off."""
    return torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in inputs)


def idle_labels(states: Tensor, labels: Tensor) -> Tensor:
    """The labels, with IGNORED for the idle rows behind them."""
    return F.pad(labels, (0, len(states) - len(labels)), value=IGNORED)


def total_and_sums(ctx: Any, losses: Tensor, factors: Tensor, segments: Sequence[Segment]) -> tuple[Tensor, Tensor]:
    """What the forward of a token loss returns, of the loss and the factor of every label, (N,) each."""
    sums = torch.stack([part.sum() for part in losses.split([segment.length for segment in segments])])
    ctx.mark_non_differentiable(sums)
    return (losses * factors).sum(), sums


def _liger() -> TokenLoss:
    function = importlib.import_module('liger_kernel.ops.fused_linear_cross_entropy').LigerFusedLinearCrossEntropyFunction

    def one(states: Tensor, labels: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if not len(labels):  # liger divides by the number of rows; the gradient must still be there, and zero
            return (states.sum() + weight.sum()) * 0 + (0 if bias is None else bias.sum() * 0)
        out = function.apply(states, weight, idle_labels(states, labels), bias, None, IGNORED, 0.0, 0.0, 'sum', None, False, torch.float32)
        return out[0] if isinstance(out, tuple) else out

    def token_loss(
        states: Tensor, labels: Tensor, weight: Tensor, bias: Tensor | None, segments: Sequence[Segment]
    ) -> tuple[Tensor, Tensor]:
        lengths = [segment.length for segment in segments]
        rows = states[: len(labels)].split(lengths) if len(segments) > 1 else [states]
        sums = [one(part, target, weight, bias) for part, target in zip(rows, labels.split(lengths), strict=True)]
        total = torch.stack([value * segment.factor for value, segment in zip(sums, segments, strict=True)]).sum()
        return total, torch.stack(sums).detach()

    return token_loss


def _triton() -> TokenLoss:
    function: TokenLoss = importlib.import_module('pretrain.kernels.triton_token_loss').triton_token_loss
    return function


def interpreted() -> bool:
    """Whether triton interprets its kernels on the CPU (as tests do)."""
    return os.environ.get('TRITON_INTERPRET') == '1'


def _lacks_triton(place: Place) -> str | None:
    return (None if interpreted() else lacks_cuda(place)) or lacks_module('triton', 'install triton')


def _lacks_liger(place: Place) -> str | None:
    return _lacks_triton(place) or lacks_module('liger_kernel.ops.fused_linear_cross_entropy', 'install liger-kernel')


BACKENDS = [
    Backend('triton', _lacks_triton, _triton),
    Backend('liger', _lacks_liger, _liger, automatic=False),  # it reads a count back from the GPU at every call, so the host waits
    Backend('torch', anywhere, lambda: None),  # pretrain/tasks/token_loss.py itself
]
