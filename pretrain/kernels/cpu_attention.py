"""Attention of packed rows on a CPU: the plain matrix products, forward and backward written out, on rows of like length at a time.

The backward of PyTorch's blocked CPU kernel is several times slower than these at captions' lengths (17 to 100 tokens), and its plain path
spends as long on scaling, masking and looking for rows without a key (there is none here) as on the products.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from pretrain.kernels.buckets import Bucket, Side, buckets_of
from pretrain.model.packed import Layout


def cpu_attention(
    projected: Tensor, heads: int, layout: Layout, causal: bool, memory: Tensor | None = None, memory_layout: Layout | None = None
) -> Tensor:
    """As pretrain/kernels/attention.py says: packed projections -> (total, D)."""
    out: Tensor = _Attention.apply(projected, memory, heads, layout, memory_layout or layout, causal)
    return out


class _Attention(torch.autograd.Function):
    """Shapes below: R rows of a bucket, H heads, L queries, S keys, d = D / H."""

    @staticmethod
    def forward(
        ctx: Any, projected: Tensor, memory: Tensor | None, heads: int, layout: Layout, memory_layout: Layout, causal: bool
    ) -> Tensor:
        buckets = buckets_of(layout, memory_layout)
        out = _packed(projected, layout, projected.shape[1] // (3 if memory is None else 1))
        saved: list[Tensor] = []
        for bucket in buckets:
            if memory is None:
                q, k, v = split(projected, 3, heads, bucket.queries)
            else:
                (q,) = split(projected, 1, heads, bucket.queries)
                k, v = split(memory, 2, heads, bucket.keys)
            scores = torch.bmm(q, k.mT).mul_(1 / math.sqrt(q.shape[2]))
            bias = _bias(bucket, causal, scores)
            if bias is not None:
                scores.view(bucket.rows, heads, *scores.shape[1:]).add_(bias)
            probabilities = torch.softmax(scores, 2)
            join(torch.bmm(probabilities, v)[None], heads, bucket.queries, out)
            saved += [q, k, v, probabilities]
        ctx.save_for_backward(*saved)
        ctx.buckets, ctx.layouts, ctx.heads, ctx.separate = buckets, (layout, memory_layout), heads, memory is not None
        return out[: layout.total]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        layout, memory_layout = ctx.layouts
        separate, saved = ctx.separate, ctx.saved_tensors
        size = grad.shape[1]
        grad_projected = _packed(grad, layout, size if separate else 3 * size)
        grad_memory = _packed(grad, memory_layout, 2 * size) if separate else None
        for number, bucket in enumerate(ctx.buckets):
            q, k, v, probabilities = saved[4 * number : 4 * number + 4]
            (grad_out,) = split(grad, 1, ctx.heads, bucket.queries, zeros=True)
            grad_scores = torch.ops.aten._softmax_backward_data(torch.bmm(grad_out, v.mT), probabilities, 2, probabilities.dtype)
            grad_scores.mul_(1 / math.sqrt(q.shape[2]))
            grad_q = torch.empty(1 if separate else 3, *q.shape, dtype=q.dtype)  # with k and v behind it when they are one tensor
            grad_kv = torch.empty(2, *k.shape, dtype=k.dtype) if separate else grad_q[1:]
            torch.bmm(grad_scores, k, out=grad_q[0])
            torch.bmm(grad_scores.mT, q, out=grad_kv[0])
            torch.bmm(probabilities.mT, grad_out, out=grad_kv[1])
            join(grad_q, ctx.heads, bucket.queries, grad_projected)
            if grad_memory is not None:
                join(grad_kv, ctx.heads, bucket.keys, grad_memory)
        own = None if grad_memory is None else grad_memory[: memory_layout.total]
        return grad_projected[: layout.total], own, None, None, None, None


def _packed(like: Tensor, layout: Layout, columns: int) -> Tensor:
    """(total + 1, columns) for `join` to fill: idle tokens are zeros; the last row takes what is padding."""
    out = like.new_empty(layout.total + 1, columns)
    out[layout.tokens :] = 0
    return out


def split(packed: Tensor, parts: int, heads: int, side: Side, zeros: bool = False) -> Tensor:
    """(total, parts * D) -> (parts, R * H, L, d). Behind the end of a row are zeros with `zeros`, else any finite numbers."""
    padded = packed[: len(side.source)] if side.whole else packed.index_select(0, side.source)
    if zeros and side.idle is not None:
        padded = padded.index_fill_(0, side.idle, 0)
    shaped = padded.view(-1, side.width, parts, heads, packed.shape[1] // (parts * heads)).permute(2, 0, 3, 1, 4)
    return shaped.reshape(parts, -1, side.width, shaped.shape[4])


def join(x: Tensor, heads: int, side: Side, out: Tensor) -> None:
    """(parts, R * H, L, d) into the rows' places of `out` (total + 1, parts * D): the inverse of `split`."""
    parts, _, width, size = x.shape
    padded = x.view(parts, -1, heads, width, size).permute(1, 3, 0, 2, 4).reshape(-1, parts * heads * size)
    if side.whole:
        out[: len(padded)] = padded
    else:
        out.index_copy_(0, side.target, padded)


def _bias(bucket: Bucket, causal: bool, like: Tensor) -> Tensor | None:
    """What is added to scores: minus infinity for keys out of sight. Rows end on the right, so a causal query never meets padding."""
    if causal:
        width = bucket.queries.width
        return torch.full((width, width), -math.inf, dtype=like.dtype).triu_(1)
    if bucket.keys.idle is None:
        return None
    return torch.zeros(bucket.rows, 1, 1, bucket.keys.width, dtype=like.dtype).masked_fill_(~bucket.keys.valid, -math.inf)
