"""Rows of like length, to be padded together: little is computed for padding, and few calls are made."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from pretrain.model.packed import Layout

# Scores of padding that cost as much as the calls for another bucket, and their share that is not worth one (at 3 and 4 heads of 64).
WASTED, WASTED_SHARE = 6_000, 0.15


@dataclass(frozen=True)
class Side:
    """Tokens of R rows in a padded (R, width) view, on the CPU."""

    width: int
    source: Tensor  # (R * width,) int64: packed place of every token; of padding, that of the row's first token
    target: Tensor  # the same, but of padding the place behind all tokens
    valid: Tensor  # (R, 1, 1, width) bool
    idle: Tensor | None  # (n,) int64: places of padding in the view; None when there is none
    whole: bool  # the view is the packed tensor's beginning


@dataclass(frozen=True)
class Bucket:
    """Rows that attend together."""

    rows: int
    queries: Side
    keys: Side


@lru_cache(maxsize=8)
def buckets_of(layout: Layout, memory: Layout) -> list[Bucket]:
    """All rows of `layout`, each attending to the row of the same number in `memory`, in buckets. All layers of a stack ask it."""
    lengths, widths = layout.lengths, memory.lengths
    queries, keys = lengths.tolist(), widths.tolist()
    order = sorted(range(layout.rows), key=lambda row: (queries[row] == 1, -keys[row], -queries[row], row))  # of one query: apart
    return [_bucket(sorted(rows), layout, memory) for rows in _groups(order, queries, keys)]


def _groups(order: list[int], lengths: list[int], widths: list[int]) -> list[list[int]]:
    """Consecutive rows of `order` such that the scores of padding stay few."""
    groups: list[list[int]] = []
    used = longest = widest = 0
    for row in order:
        area = lengths[row] * widths[row]
        if groups:
            padded = (len(groups[-1]) + 1) * max(longest, lengths[row]) * max(widest, widths[row])
            wasted = padded - used - area
            if wasted <= max(WASTED, WASTED_SHARE * used):
                groups[-1].append(row)
                used, longest, widest = used + area, max(longest, lengths[row]), max(widest, widths[row])
                continue
        groups.append([row])
        used, longest, widest = area, lengths[row], widths[row]
    return groups


def _bucket(rows: list[int], layout: Layout, memory: Layout) -> Bucket:
    chosen = torch.tensor(rows)
    queries = _side(chosen, layout)
    return Bucket(len(rows), queries, queries if memory is layout else _side(chosen, memory))


def _side(rows: Tensor, layout: Layout) -> Side:
    lengths, starts = layout.lengths[rows], layout.starts[rows]
    width = int(lengths.max())
    offsets = torch.arange(width)
    valid = offsets < lengths[:, None]
    source = (starts[:, None] + offsets * valid).flatten()
    target = torch.where(valid, starts[:, None] + offsets, layout.total).flatten()
    idle = None if bool(valid.all()) else (~valid.flatten()).nonzero().squeeze(1)
    whole = idle is None and len(rows) == layout.rows
    return Side(width, source, target, valid[:, None, None], idle, whole)
