"""Which training example stands at which position of a fine-tuning: a pure function of (seed, position, size of the set)."""

from __future__ import annotations

from functools import lru_cache

from pretrain.data.rng import permutation_keys, permute


def example_at(seed: int, position: int, size: int) -> int:
    """The example at a position of the endless sequence in which every epoch is a permutation of its own."""
    epoch, index = divmod(position, size)
    return permute(index, size, _keys(seed, epoch))


@lru_cache(4)
def _keys(seed: int, epoch: int) -> tuple[int, ...]:
    return permutation_keys(seed, 'finetune/order', epoch)
