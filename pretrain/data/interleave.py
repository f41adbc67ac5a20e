"""Which stream stands at which position of an endless sequence, in closed form.

Every block of `block` positions holds a fixed quota of each stream, placed by a seeded permutation; quotas rotate over a cycle of blocks,
so that a rare stream is not rounded to nothing. The number of earlier positions of a stream is therefore arithmetic, and nothing depends on
history.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from pretrain.data.recent import Recent
from pretrain.data.rng import generator

MAX_CYCLE = 64  # blocks; a stream rarer than 1 in MAX_CYCLE * block still has one position a cycle

Ints = NDArray[np.int64]


class Interleave:
    """Streams 0..S-1 with `weights` (non-negative, any scale), mixed by (seed, purpose)."""

    def __init__(self, seed: int, purpose: str, weights: list[float], block: int) -> None:
        shares = np.asarray(weights, np.float64) / sum(weights)
        self.seed, self.purpose, self.block = seed, purpose, block
        rarest = float(shares[shares > 0].min())
        enough = math.ceil(np.count_nonzero(shares) / block)
        self.cycle = max(enough, min(MAX_CYCLE, math.ceil(1 / (rarest * block))))
        self.quotas = cycle_quotas(shares, self.cycle * block)  # (S,) positions of each stream in a cycle
        self._cycles: Recent[tuple[Ints, Ints]] = Recent(2)
        self._blocks: Recent[tuple[Ints, Ints]] = Recent(16)

    def locate(self, position: int) -> tuple[int, int]:
        """(stream at `position`, number of earlier positions of that stream)."""
        block, offset = divmod(position, self.block)
        streams, draws = self._block(block)
        return int(streams[offset]), int(draws[offset])

    def locate_range(self, first: int, last: int) -> tuple[Ints, Ints]:
        """`locate` for the positions first..last-1: streams (n,), draws (n,)."""
        parts = []
        for block in range(first // self.block, (last - 1) // self.block + 1):
            start = block * self.block
            inside = slice(max(first - start, 0), last - start)
            parts.append(tuple(table[inside] for table in self._block(block)))
        return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])

    def before(self, position: int) -> Ints:
        """(S,) positions of every stream before `position`."""
        block, offset = divmod(position, self.block)
        cycle, row = divmod(block, self.cycle)
        _, earlier = self._cycles.get(cycle, lambda: self._make_cycle(cycle))
        counted: Ints = cycle * self.quotas + earlier[row] + np.bincount(self._block(block)[0][:offset], minlength=len(self.quotas))
        return counted

    def _block(self, block: int) -> tuple[Ints, Ints]:
        return self._blocks.get(block, lambda: self._make_block(block))

    def _make_block(self, block: int) -> tuple[Ints, Ints]:
        cycle, row = divmod(block, self.cycle)
        quotas, before = self._cycles.get(cycle, lambda: self._make_cycle(cycle))
        shuffle = generator(self.seed, f'{self.purpose}/block', block).permutation(self.block)
        streams = np.repeat(np.arange(len(self.quotas)), quotas[row])[shuffle]
        by_stream = np.argsort(streams, kind='stable')  # a stream's positions in ascending order, one stream after the other
        rank = np.arange(self.block) - np.repeat(np.cumsum(quotas[row]) - quotas[row], quotas[row])
        draws = np.empty(self.block, np.int64)
        draws[by_stream] = rank
        return streams, draws + (cycle * self.quotas + before[row])[streams]

    def _make_cycle(self, cycle: int) -> tuple[Ints, Ints]:
        """Quotas of each block of a cycle (R, S), and their sums over the earlier blocks (R, S).

        Systematic sampling: block b takes floor((K_s + b) / R) - floor((K_(s-1) + b) / R) of stream s, K being cumulated cycle quotas.
        A block's sum is exactly `block`, and (Hermite's identity) a stream's sum over the R blocks is exactly its cycle quota.
        """
        phases = generator(self.seed, f'{self.purpose}/cycle', cycle).permutation(self.cycle)[:, None]
        edges = (np.concatenate([[0], np.cumsum(self.quotas)])[None] + phases) // self.cycle
        quotas = np.diff(edges, axis=1)
        return quotas, np.cumsum(quotas, axis=0) - quotas


def cycle_quotas(shares: NDArray[np.float64], positions: int) -> Ints:
    """Whole positions of each stream, summing to `positions`: largest remainder, but at least 1 where the share is not 0."""
    quotas = np.zeros(len(shares), np.int64)
    while True:  # streams below 1 get 1, the others share the rest, which may bring further ones below 1
        open_ = (shares > 0) & (quotas == 0)
        ideal = np.where(open_, shares, 0) * (positions - quotas.sum()) / max(shares[open_].sum(), np.finfo(float).tiny)
        rare = open_ & (ideal < 1)
        if not rare.any():
            break
        quotas[rare] = 1
    quotas += np.floor(ideal).astype(np.int64)
    quotas[np.argsort(np.floor(ideal) - ideal, kind='stable')[: positions - quotas.sum()]] += 1
    return quotas
