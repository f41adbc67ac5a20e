"""Exact duplicates across units of work, by 64-bit hashes.

Two passes: every source is scanned into an array of keys in the order of its records (a unit of work), then all arrays together decide
which record is the first of its kind (another unit). The order is that of the sources and their rows, so the decision never depends on who
works when. With 2^64 values two different records among 10^8 are taken for equal with probability 0.0003.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Keys = npt.NDArray[np.uint64]


def hash64(*parts: str | bytes) -> int:
    """64-bit hash of a sequence of texts."""
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        data = part.encode('utf8') if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8))
        digest.update(data)
    return int.from_bytes(digest.digest())


def repeated(sources: Sequence[Keys]) -> list[npt.NDArray[np.int64]]:
    """For each source the sorted rows whose key occurred before, in an earlier source or row."""
    keys = np.concatenate([np.asarray(source, np.uint64) for source in sources]) if sources else np.empty(0, np.uint64)
    _, first = np.unique(keys, return_index=True)
    again = np.ones(len(keys), bool)
    again[first] = False
    ends = np.cumsum([len(source) for source in sources])
    return [np.flatnonzero(again[end - len(source) : end]) for source, end in zip(sources, ends, strict=True)]
