"""Fused kernels behind one interface: an operation, its backends, and which of them this process uses.

Plain PyTorch until `use` is called, so that whatever loads a model need not know of them. A trainer calls `use` once, before its model
runs. AdamW's backends are in pretrain/engine/optimizers.py, since some are DeepSpeed's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from pretrain.config import Kernels
from pretrain.kernels import attention as _attention
from pretrain.kernels import dropout as _dropout
from pretrain.kernels import gradient_norm as _gradient_norm
from pretrain.kernels import norm as _norm
from pretrain.kernels import token_loss as _token_loss
from pretrain.kernels.registry import Backend, Place, choose
from pretrain.model.packed import Layout

OPERATIONS: Mapping[str, Sequence[Backend]] = {
    'norm': _norm.BACKENDS,
    'attention': _attention.BACKENDS,
    'dropout': _dropout.BACKENDS,
    'token_loss': _token_loss.BACKENDS,
    'gradient_norm': _gradient_norm.BACKENDS,
}

_used: dict[str, Any] = {
    'norm': _norm.plain,
    'attention': _attention.padded,
    'dropout': F.dropout,
    'token_loss': None,
    'gradient_norm': _gradient_norm.plain,
}


def use(kernels: Kernels, place: Place) -> dict[str, str]:
    """Take the configured backends from now on; operation -> the name of what is used.

    Raises UserError when a backend that was named cannot run at `place`.
    """
    chosen = {name: choose(name, backends, getattr(kernels, name), place) for name, backends in OPERATIONS.items()}
    _used.update({name: backend.load() for name, backend in chosen.items()})
    return {name: backend.name for name, backend in chosen.items()}


def norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """LayerNorm of x (…, D) with statistics in fp32, in the weights' precision."""
    out: Tensor = _used['norm'](x, weight, bias, eps)
    return out


def attention(
    projected: Tensor, heads: int, layout: Layout, causal: bool, memory: Tensor | None = None, memory_layout: Layout | None = None
) -> Tensor:
    """Multi-head attention of packed rows (pretrain/kernels/attention.py): (total, D)."""
    out: Tensor = _used['attention'](projected, heads, layout, causal, memory, memory_layout)
    return out


def dropout(x: Tensor, probability: float, training: bool) -> Tensor:
    """x with elements dropped with `probability` and the others scaled up, when `training`; the same after the same torch.manual_seed."""
    out: Tensor = _used['dropout'](x, probability, training)
    return out


def fused_token_loss() -> _token_loss.TokenLoss | None:
    """The fused token loss; None: plain PyTorch's."""
    function: _token_loss.TokenLoss | None = _used['token_loss']
    return function


def gradient_norm(gradients: list[Tensor]) -> Tensor:
    """() norm of fp32 gradients as one vector."""
    out: Tensor = _used['gradient_norm'](gradients)
    return out
