"""Attention of padded rows on a CPU: the plain matrix products, forward and backward written out.

The backward of PyTorch's blocked CPU kernel is several times slower than these at captions' lengths (17 to 100 tokens), and its plain path
spends as long on scaling, masking and looking for rows without a key (there is none here) as on the products.
"""
from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from pretrain.model.packed import Layout, select


def cpu_attention(
    projected: Tensor, heads: int, layout: Layout, causal: bool, memory: Tensor | None = None, memory_layout: Layout | None = None
) -> Tensor:
    """As pretrain/kernels/attention.py says: packed projections -> (total, D)."""
    out: Tensor = _Attention.apply(projected, memory, heads, layout, memory_layout, causal)
    return out


class _Attention(torch.autograd.Function):
    """Shapes below: B rows, H heads, L queries, S keys, d = D / H."""

    @staticmethod
    def forward(
        ctx: Any, projected: Tensor, memory: Tensor | None, heads: int, layout: Layout, memory_layout: Layout | None, causal: bool
    ) -> Tensor:
        if memory is None or memory_layout is None:
            memory_layout = layout
            q, k, v = split(projected, 3, heads, layout)
        else:
            (q,) = split(projected, 1, heads, layout)
            k, v = split(memory, 2, heads, memory_layout)
        scale = 1 / math.sqrt(q.shape[2])
        scores = torch.bmm(q, k.mT).mul_(scale)
        bias = _bias(layout, memory_layout, causal, scores)
        if bias is not None:
            scores.view(layout.rows, heads, *scores.shape[1:]).add_(bias)
        probabilities = torch.softmax(scores, 2)
        ctx.save_for_backward(q, k, v, probabilities)
        ctx.layouts, ctx.heads, ctx.scale, ctx.separate = (layout, memory_layout), heads, scale, memory is not None
        return join(torch.bmm(probabilities, v)[None], heads, layout)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, probabilities = ctx.saved_tensors
        layout, memory_layout = ctx.layouts
        (grad_out,) = split(grad, 1, ctx.heads, layout)
        grad_scores = torch.ops.aten._softmax_backward_data(torch.bmm(grad_out, v.mT), probabilities, 2, probabilities.dtype)
        grad_scores.mul_(ctx.scale)
        grad_q = torch.empty(3 - 2 * ctx.separate, *q.shape, dtype=q.dtype)  # with k and v behind it when they are one tensor
        grad_kv = torch.empty(2, *k.shape, dtype=k.dtype) if ctx.separate else grad_q[1:]
        torch.bmm(grad_scores, k, out=grad_q[0])
        torch.bmm(grad_scores.mT, q, out=grad_kv[0])
        torch.bmm(probabilities.mT, grad_out, out=grad_kv[1])
        grad_memory = join(grad_kv, ctx.heads, memory_layout) if ctx.separate else None
        return join(grad_q, ctx.heads, layout), grad_memory, None, None, None, None


def split(packed: Tensor, parts: int, heads: int, layout: Layout) -> Tensor:
    """(total, parts * D) -> (parts, B * H, L, d), zeros where a row has ended."""
    rows, width = layout.rows, layout.width
    if layout.valid is None:
        padded = packed[: layout.tokens]
    else:
        padded = packed.new_zeros(rows * width, packed.shape[1]).index_copy_(0, layout.index, packed[: layout.tokens])
    shaped = padded.view(rows, width, parts, heads, -1).permute(2, 0, 3, 1, 4)
    return shaped.reshape(parts, rows * heads, width, shaped.shape[4])


def join(x: Tensor, heads: int, layout: Layout) -> Tensor:
    """(parts, B * H, L, d) -> (total, parts * D), zeros for idle tokens: the inverse of `split`."""
    parts, _, width, size = x.shape
    padded = x.view(parts, layout.rows, heads, width, size).permute(1, 3, 0, 2, 4).reshape(layout.rows * width, parts * heads * size)
    return select(padded, layout.index, layout.total)


def _bias(layout: Layout, memory: Layout, causal: bool, like: Tensor) -> Tensor | None:
    """What is added to scores: minus infinity for keys out of sight. Rows end on the right, so a causal query never meets padding."""
    if causal:
        return torch.full((layout.width, layout.width), -math.inf, dtype=like.dtype).triu_(1)
    if memory.valid is None:
        return None
    return torch.zeros(memory.valid.shape, dtype=like.dtype).masked_fill_(~memory.valid, -math.inf)
