"""Ragged batches without padding: rows of different length lie one after the other, (T, D); only attention sees a padded (B, L, …) view.

Everything that works token by token (projections, norms, feed-forward, losses) therefore computes nothing for padding.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """Where the rows of a packed tensor lie. Built on the host from the lengths, so that no device is waited for."""

    lengths: Tensor  # (B,) int64, on the CPU
    width: int  # the longest row
    index: Tensor  # (T,) int64: place of every token in a padded (B * width) view
    starts: Tensor  # (B,) int64: packed place of the first token of every row
    positions: Tensor  # (T,) int64: place of every token in its own row
    valid: Tensor | None  # (B, 1, 1, width) bool, the mask of attention's keys; None when no row is shorter than the others

    @property
    def rows(self) -> int:
        return len(self.lengths)

    @staticmethod
    def of(lengths: Tensor, device: torch.device | str) -> Layout:
        """The layout of rows with these `lengths` (B,), all at least 1."""
        lengths = lengths.cpu()
        width = int(lengths.max())
        ends = lengths.cumsum(0)
        starts = ends - lengths
        row = torch.repeat_interleave(torch.arange(len(lengths)), lengths)
        positions = torch.arange(int(ends[-1])) - starts[row]
        even = bool((lengths == width).all())
        valid = None if even else (torch.arange(width)[None] < lengths[:, None])[:, None, None].to(device, non_blocking=True)
        index, starts, positions = (part.to(device, non_blocking=True) for part in (row * width + positions, starts, positions))
        return Layout(lengths, width, index, starts, positions, valid)


def pad(packed: Tensor, layout: Layout) -> Tensor:
    """(T, …) -> (B, width, …), zeros where a row has ended."""
    shape = (layout.rows, layout.width, *packed.shape[1:])
    if layout.valid is None:
        return packed.view(shape)
    out: Tensor = _Scatter.apply(packed, layout.index, layout.rows * layout.width)
    return out.view(shape)


def pack(padded: Tensor, layout: Layout) -> Tensor:
    """(B, width, …) -> (T, …): the inverse of `pad`."""
    flat = padded.flatten(0, 1)
    if layout.valid is None:
        return flat
    out: Tensor = _Gather.apply(flat, layout.index)
    return out


def place(parts: list[tuple[Tensor, Tensor]], total: int) -> Tensor:
    """A packed tensor of `total` tokens, made of (values (N, D), places (N,)) that together fill it exactly once."""
    values = torch.cat([value for value, _ in parts])
    places = torch.cat([where for _, where in parts])
    out: Tensor = _Scatter.apply(values, places, total)
    return out


class _Scatter(torch.autograd.Function):
    """out[index] = x for distinct indices. Autograd's own index operations accumulate, which is slow and, on a GPU, not deterministic."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, index: Tensor, size: int) -> Tensor:
        ctx.save_for_backward(index)
        return x.new_zeros(size, *x.shape[1:]).index_copy_(0, index, x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (index,) = ctx.saved_tensors
        return grad.index_select(0, index), None, None


class _Gather(torch.autograd.Function):
    """x[index] for distinct indices."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        ctx.size = len(x)
        return x.index_select(0, index)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (index,) = ctx.saved_tensors
        return grad.new_zeros(ctx.size, *grad.shape[1:]).index_copy_(0, index, grad), None


def take(x: Tensor, index: Tensor) -> Tensor:
    """x[index] (N, …) for distinct indices."""
    out: Tensor = _Gather.apply(x, index)
    return out
