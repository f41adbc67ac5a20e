"""Counter-based randomness: what a generator draws depends only on (seed, purpose, counters), never on what was drawn before.

Philox (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") has a key of 128 bits, which holds seed and purpose, and a
counter of 256 bits, whose upper three words hold e.g. step and position; the lowest counts the draws of one generator.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

import numpy as np

_WORD = (1 << 64) - 1
_ROUNDS = 8


def generator(seed: int, purpose: str, *counters: int) -> np.random.Generator:
    """A fresh generator for up to three counters (about 10 µs). Different arguments give independent numbers."""
    key = np.array([seed & _WORD, _purpose_key(purpose)], np.uint64)
    counter = np.array([0, *counters, *(0,) * (3 - len(counters))], np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


def hash63(value: str | bytes) -> int:
    """Non-negative int64 that is the same in every process, unlike Python's hash()."""
    raw = value.encode('utf8') if isinstance(value, str) else value
    return int.from_bytes(hashlib.blake2b(raw, digest_size=8).digest(), 'little') >> 1


def permutation_keys(seed: int, purpose: str, *counters: int) -> tuple[int, ...]:
    """Round keys for `permute`."""
    return tuple(generator(seed, purpose, *counters).integers(0, 1 << 63, _ROUNDS).tolist())


def permute(index: int, size: int, keys: tuple[int, ...]) -> int:
    """Where a keyed permutation of range(size) sends `index`, without a table (a window of text shards has millions of samples).

    A Feistel network over an even number of bits; what falls outside range(size) walks on until it is inside (Black and Rogaway 2002).
    """
    if size == 1:
        return 0
    half = max(3, (size - 1).bit_length() + 1 >> 1)
    mask = (1 << half) - 1
    while True:
        left, right = index >> half, index & mask
        for key in keys:
            left, right = right, left ^ (_mix(right + key) & mask)
        index = left << half | right
        if index < size:
            return index


def _mix(x: int) -> int:
    """The finaliser of splitmix64."""
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & _WORD
    x = (x ^ x >> 27) * 0x94D049BB133111EB & _WORD
    return x ^ x >> 31


@lru_cache(4096)
def _purpose_key(purpose: str) -> int:
    return int.from_bytes(hashlib.blake2b(purpose.encode('utf8'), digest_size=8).digest(), 'little')
