"""Attention of packed rows. `torch` pads them; the others take rows of any length as they are.

A function takes projections and returns (total, D), zeros for idle tokens:

    projected (total, 3 * D): queries, keys and values of a self-attention;  with `memory`: (total, D), queries alone
    memory (total', 2 * D): keys and values of the rows of the same number in `memory_layout`
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain.kernels.cpu_attention import cpu_attention
from pretrain.kernels.registry import Backend, Place, anywhere, lacks_cuda, lacks_module
from pretrain.model.packed import Layout, pack, pad

Attention = Callable[..., Tensor]

LARGEST_HEAD = 256  # of FlashAttention


def padded(
    projected: Tensor, heads: int, layout: Layout, causal: bool, memory: Tensor | None = None, memory_layout: Layout | None = None
) -> Tensor:
    """PyTorch's scaled_dot_product_attention on padded rows."""

    def split(x: Tensor, layout: Layout, parts: int) -> tuple[Tensor, ...]:
        """(total, parts * D) -> parts x (B, heads, L, D / heads)."""
        return pad(x, layout).view(layout.rows, layout.width, parts, heads, -1).permute(2, 0, 3, 1, 4).unbind(0)

    if memory is None or memory_layout is None:
        q, k, v = split(projected, layout, 3)
        keys = None if causal else layout.valid  # right-padded: a causal query never meets padding
    else:
        (q,) = split(projected, layout, 1)
        k, v = split(memory, memory_layout, 2)
        keys = memory_layout.valid
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=keys, is_causal=causal)
    return pack(out.transpose(1, 2).flatten(2), layout)


def ragged(
    kernel: Attention,
    projected: Tensor, heads: int, layout: Layout, causal: bool, memory: Tensor | None = None, memory_layout: Layout | None = None,
) -> Tensor:  # fmt: skip
    """`kernel` (q (T, H, d), k (S, H, d), v, layout, memory_layout, causal) -> (T, H, d), on the rows' own tokens."""

    def split(x: Tensor, layout: Layout, parts: int) -> tuple[Tensor, ...]:
        return x[: layout.tokens].view(layout.tokens, parts, heads, -1).unbind(1)

    if memory is None or memory_layout is None:
        out = kernel(*split(projected, layout, 3), layout, layout, causal)
    else:
        out = kernel(*split(projected, layout, 1), *split(memory, memory_layout, 2), layout, memory_layout, causal)
    return F.pad(out.flatten(1), (0, 0, 0, layout.total - layout.tokens))


def _varlen() -> Attention:
    """PyTorch's own binding of FlashAttention."""
    varlen_attn = importlib.import_module('torch.nn.attention.varlen').varlen_attn

    def kernel(q: Tensor, k: Tensor, v: Tensor, layout: Layout, memory: Layout, causal: bool) -> Tensor:
        window = (-1, 0) if causal else (-1, -1)
        return varlen_attn(q, k, v, layout.boundaries, memory.boundaries, layout.width, memory.width, window_size=window)

    return partial(ragged, kernel)


def _flash() -> Attention:
    """The package flash-attn."""
    flash_attn_varlen_func = importlib.import_module('flash_attn').flash_attn_varlen_func

    def kernel(q: Tensor, k: Tensor, v: Tensor, layout: Layout, memory: Layout, causal: bool) -> Tensor:
        return flash_attn_varlen_func(q, k, v, layout.boundaries, memory.boundaries, layout.width, memory.width, causal=causal)

    return partial(ragged, kernel)


def _flex() -> Attention:
    return partial(ragged, importlib.import_module('pretrain.kernels.flex').kernel())


def _lacks_flash_hardware(place: Place) -> str | None:
    if place.precision != 'bf16':
        return f'it computes in bf16, the run in {place.precision}'
    if place.head_size > LARGEST_HEAD:
        return f'it needs heads of at most {LARGEST_HEAD}, not {place.head_size}'
    if lacking := lacks_cuda(place):
        return lacking
    if torch.cuda.get_device_capability(place.device) < (8, 0):
        return 'it needs compute capability 8.0 (A100) or newer'
    return None


def _lacks_varlen(place: Place) -> str | None:
    if place.head_size % 8:  # the package flash-attn fills up to the next multiple itself
        return f'it needs heads whose size is a multiple of 8, not {place.head_size}'
    return _lacks_flash_hardware(place) or lacks_module('torch.nn.attention.varlen', 'install torch 2.10 or newer')


def _lacks_flash(place: Place) -> str | None:
    return _lacks_flash_hardware(place) or lacks_module('flash_attn', 'install flash-attn for this PyTorch')


def _elsewhere(place: Place) -> str | None:
    return None if place.device.type == 'cpu' else 'it is for a CPU'


BACKENDS = [
    Backend('flash', _lacks_flash, _flash),
    Backend('varlen', _lacks_varlen, _varlen),
    Backend('flex', lacks_cuda, _flex, automatic=False),  # compiles for new kinds of shapes in mid-run
    Backend('cpu', _elsewhere, lambda: cpu_attention),
    Backend('torch', anywhere, lambda: padded),
]
