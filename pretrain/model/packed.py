"""Ragged batches without padding: rows of different length lie one after the other, (T, D); only attention sees a padded (B, L, …) view.

Everything that works token by token (projections, norms, feed-forward, losses) therefore computes nothing for padding. But for a tail of at
most 63 idle tokens: T is rounded up, because matrix-product libraries prepare a kernel for every new shape (a quarter of a small step on a
CPU), and a GPU's tiles like whole multiples. Idle tokens are zeros or <pad>, belong to no row, reach no loss and get no gradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

MULTIPLE = 64


def rounded(tokens: int) -> int:
    """The next multiple of MULTIPLE."""
    return -(-tokens // MULTIPLE) * MULTIPLE


def sent(tensor: Tensor, device: torch.device | str) -> Tensor:
    """`tensor` on `device`, without waiting for what that is at: from the host a GPU copies only pinned memory so."""
    if torch.device(device).type == 'cuda' and tensor.device.type == 'cpu':
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


@dataclass(frozen=True, eq=False)
class Layout:
    """Where the rows of a packed tensor lie. Built on the host from the lengths, so that no device is waited for."""

    lengths: Tensor  # (B,) int64, on the CPU
    width: int  # the longest row
    tokens: int  # T, of all rows
    total: int  # T rounded up: the length of packed tensors
    index: Tensor  # (T,) int64: place of every token in a padded (B * width) view
    starts: Tensor  # (B,) int64: packed place of the first token of every row
    positions: Tensor  # (total,) int64: place of every token in its own row; 0 for idle ones
    valid: Tensor | None  # (B, 1, 1, width) bool, the mask of attention's keys; None when no row is shorter than the others

    @property
    def rows(self) -> int:
        return len(self.lengths)

    @cached_property
    def boundaries(self) -> Tensor:
        """(B + 1,) int32: packed places where rows begin, and the end of the last: what kernels for ragged rows take."""
        return F.pad(self.starts, (0, 1), value=self.tokens).int()

    @cached_property
    def row_of_token(self) -> Tensor:
        """(T,) int64: the row of every token."""
        return self.index // self.width

    @staticmethod
    def of(lengths: Tensor, device: torch.device | str) -> Layout:
        """The layout of rows with these `lengths` (B,), B and all lengths at least 1."""
        lengths = lengths.cpu()
        width = int(lengths.max())
        ends = lengths.cumsum(0)
        tokens = int(ends[-1])
        starts = ends - lengths
        row = torch.repeat_interleave(torch.arange(len(lengths)), lengths)
        inside = torch.arange(tokens) - starts[row]
        even = bool((lengths == width).all())
        valid = None if even else sent((torch.arange(width)[None] < lengths[:, None])[:, None, None], device)
        positions = F.pad(inside, (0, rounded(tokens) - tokens))
        index, starts, positions = (sent(part, device) for part in (row * width + inside, starts, positions))
        return Layout(lengths, width, tokens, len(positions), index, starts, positions, valid)


@dataclass(frozen=True, eq=False)
class Kept:
    """The tokens whose states are wanted from a layer that sees others too."""

    index: Tensor  # (N,) int64: their packed places in the layer's input
    layout: Layout  # of its output: as many rows as the input has

    def of(self, x: Tensor) -> Tensor:
        """(total of the input, D) -> (total of the output, D)."""
        return take(x, self.index, self.layout.total)


@dataclass(frozen=True)
class Encoded:
    """Packed states (T, D) of a batch's rows."""

    states: Tensor  # (total, D), idle tokens behind
    layout: Layout

    @property
    def tokens(self) -> Tensor:
        """(T, D): the states of the rows' own tokens."""
        return self.states[: self.layout.tokens]

    def first(self) -> Tensor:
        """(B, D): the state at position 0 of every row, which is the text's [CLS] or [MM_CLS]."""
        return take(self.states, self.layout.starts)

    def head(self, rows: int) -> Encoded:
        """The first `rows` rows, at least one. What follows them in `states` are tokens of other rows, idle here."""
        if rows == self.layout.rows:
            return self
        layout = Layout.of(self.layout.lengths[:rows], self.states.device)
        return Encoded(self.states[: layout.total], layout)


def pad(packed: Tensor, layout: Layout) -> Tensor:
    """(total, …) -> (B, width, …), zeros where a row has ended."""
    out: Tensor = _Scatter.apply(packed, layout.index, layout.rows * layout.width)
    return out.view(layout.rows, layout.width, *packed.shape[1:])


def pack(padded: Tensor, layout: Layout) -> Tensor:
    """(B, width, …) -> (total, …): the inverse of `pad`."""
    out: Tensor = _Gather.apply(padded.flatten(0, 1), layout.index, layout.total)
    return out


def place(parts: list[tuple[Tensor, Tensor]], total: int) -> Tensor:
    """A packed tensor of `total` tokens, made of (values (N, D), places (N,)) at distinct places; zeros elsewhere."""
    values = torch.cat([value for value, _ in parts])
    places = torch.cat([where for _, where in parts])
    out: Tensor = _Scatter.apply(values, places, total)
    return out


def take(x: Tensor, index: Tensor, total: int | None = None) -> Tensor:
    """x[index] for distinct indices (N,), with zeros behind up to `total` rows (none: N)."""
    out: Tensor = _Gather.apply(x, index, len(index) if total is None else total)
    return out


def repeat(x: Tensor, index: Tensor) -> Tensor:
    """x[index] for indices (N,), on the CPU, of which some may be the same."""
    out: Tensor = _Repeat.apply(x, index)
    return out


class _Scatter(torch.autograd.Function):
    """out[index] = x[:N] for N distinct indices. Autograd's own index operations accumulate, which is slow and, on a GPU, not
    deterministic."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, index: Tensor, size: int) -> Tensor:
        ctx.save_for_backward(index)
        ctx.rows = len(x)
        return x.new_zeros(size, *x.shape[1:]).index_copy_(0, index, x[: len(index)])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (index,) = ctx.saved_tensors
        return select(grad, index, ctx.rows), None, None


class _Gather(torch.autograd.Function):
    """out[:N] = x[index] for N distinct indices, zeros behind."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, index: Tensor, rows: int) -> Tensor:
        ctx.save_for_backward(index)
        ctx.size = len(x)
        return select(x, index, rows)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (index,) = ctx.saved_tensors
        return grad.new_zeros(ctx.size, *grad.shape[1:]).index_copy_(0, index, grad[: len(index)]), None, None


class _Repeat(torch.autograd.Function):
    """out = x[index] for N indices, not all distinct. The backward adds up, in fp32, one set of distinct indices after the other, so that
    the order of the sum is fixed."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, index: Tensor) -> Tensor:
        ctx.index, ctx.size = index, len(x)
        return x.index_select(0, sent(index, x.device))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        total = grad.new_zeros(ctx.size, *grad.shape[1:], dtype=torch.float32)
        for uses in _distinct(ctx.index):
            at = sent(ctx.index[uses], grad.device)
            total.index_add_(0, at, grad.index_select(0, sent(uses, grad.device)).float())
        return total.to(grad.dtype), None


def _distinct(index: Tensor) -> list[Tensor]:
    """Places of `index` (N,) in as few groups as possible, none of which has the same value twice."""
    groups: list[list[int]] = []
    met: dict[int, int] = {}
    for where, value in enumerate(index.tolist()):
        times = met.get(value, 0)
        met[value] = times + 1
        if times == len(groups):
            groups.append([])
        groups[times].append(where)
    return [torch.tensor(group) for group in groups]


def select(x: Tensor, index: Tensor, rows: int) -> Tensor:
    """x[index], with zeros behind up to `rows`."""
    if rows == len(index):
        return x.index_select(0, index)
    out = x.new_empty(rows, *x.shape[1:])
    torch.index_select(x, 0, index, out=out[: len(index)])
    out[len(index) :] = 0
    return out
