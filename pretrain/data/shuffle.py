"""The order of a stream's samples: each epoch a permutation by block shuffle, in closed form.

Shards are permuted, then taken in windows; samples are permuted inside a window. A file system thus sees a few shards at a time.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate

from pretrain.data.recent import Recent
from pretrain.data.rng import generator, permutation_keys, permute


class Shuffle:
    """Endless epochs over `sum(sizes)` samples in shards of `sizes`, shuffled by (seed, purpose)."""

    def __init__(self, seed: int, purpose: str, sizes: list[int], window: int) -> None:
        self.seed, self.purpose, self.sizes, self.window = seed, purpose, sizes, window
        self.starts = [0, *accumulate(sizes)]
        self.total = self.starts[-1]
        self._epochs: Recent[tuple[list[int], list[int]]] = Recent(2)
        self._windows: Recent[tuple[list[int], list[int], tuple[int, ...]]] = Recent(2)

    def locate(self, draw: int) -> tuple[int, int]:
        """(epoch, sample) of the draw-th sample: the draws of an epoch visit every sample exactly once."""
        epoch, rank = divmod(draw, self.total)
        shards, starts = self._epochs.get(epoch, lambda: self._make_epoch(epoch))
        window = bisect_right(starts, rank) - 1
        members, inside, keys = self._windows.get((epoch, window), lambda: self._make_window(epoch, window, shards))
        place = permute(rank - starts[window], inside[-1], keys)
        member = bisect_right(inside, place) - 1
        return epoch, self.starts[members[member]] + place - inside[member]

    def _make_epoch(self, epoch: int) -> tuple[list[int], list[int]]:
        """The epoch's order of shards, and the rank at which each window starts."""
        shards = generator(self.seed, f'{self.purpose}/shards', epoch).permutation(len(self.sizes)).tolist()
        ends = [0, *accumulate(self.sizes[shard] for shard in shards)]
        return shards, ends[: -1 : self.window]

    def _make_window(self, epoch: int, window: int, shards: list[int]) -> tuple[list[int], list[int], tuple[int, ...]]:
        """The window's shards, where each starts inside it (and its size at the end), and its permutation."""
        members = shards[window * self.window : (window + 1) * self.window]
        inside = [0, *accumulate(self.sizes[shard] for shard in members)]
        return members, inside, permutation_keys(self.seed, f'{self.purpose}/samples', epoch, window)
