"""Near-duplicates by MinHash (rensa) and locality-sensitive hashing, on the same two passes as exact duplicates.

The 128 values of a text's MinHash are cut into bands. A band of two texts with Jaccard similarity s, r values long, is the same with
probability s^r; a text is a near-duplicate when any band of it occurred before, at the same place. The bands of one place are keys like
those of exact duplicates, so that a decision depends on the order of the texts alone, and memory is bounded in the same way.
"""

from __future__ import annotations

import contextlib
import unicodedata
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any

from data_pipeline.dedupe import KeyFile, Marks, hash64, mark_repeated
from data_pipeline.drops import Drops

KEYS = 'keys.u64'  # of exact duplicates, beside the files of bands
PERMUTATIONS = 128
_PIECE = 5  # characters
_SEED = 1


@cache
def bands(threshold: float) -> tuple[int, int]:
    """(number of bands, values of a band) with which the similarity that is found half of the time is nearest to `threshold`."""

    def middle(rows: int) -> float:  # 1 - (1 - s^r)^b = 1/2
        return float((1 - 0.5 ** (1 / (PERMUTATIONS // rows))) ** (1 / rows))

    rows = min(range(1, PERMUTATIONS + 1), key=lambda rows: abs(middle(rows) - threshold))
    return PERMUTATIONS // rows, rows


def band_keys(text: str, threshold: float) -> list[int]:
    """64-bit keys of a text's bands, one for each. Case, white space and punctuation do not count."""
    from rensa import RMinHash

    number, rows = bands(threshold)
    plain = ''.join(char for char in unicodedata.normalize('NFKC', text).casefold() if char.isalnum())
    pieces = {plain[i : i + _PIECE] for i in range(max(1, len(plain) - _PIECE + 1))}
    minhash = RMinHash(num_perm=PERMUTATIONS, seed=_SEED)
    minhash.update(sorted(pieces))
    values = [value.to_bytes(8, 'big') for value in minhash.digest()]
    return [hash64(b''.join(values[band * rows : (band + 1) * rows])) for band in range(number)]


class BandFiles:
    """The bands of many texts, a file of keys for each place. Nothing is written with a threshold of 0. Use as a context manager."""

    def __init__(self, folder: Path, threshold: float) -> None:
        self._threshold = threshold
        self._stack = contextlib.ExitStack()
        self._files = [KeyFile(path) for path in band_files(folder, threshold)]

    def __enter__(self) -> BandFiles:
        for file in self._files:
            self._stack.enter_context(file)
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.__exit__(kind, value, trace)

    def append(self, *texts: str) -> None:
        if self._threshold:
            for file, key in zip(self._files, band_keys('\n'.join(texts), self._threshold), strict=True):
                file.append(key)


def band_files(folder: Path, threshold: float) -> list[Path]:
    return [folder / f'band-{i:03}.u64' for i in range(bands(threshold)[0])] if threshold else []


def mark_near(folders: Sequence[Path], threshold: float, scratch: Path) -> Marks | None:
    """Marks of the texts that have a band which occurred before at its place, in an earlier folder (of `BandFiles`) or text. None: off."""
    marks: Marks | None = None
    for files in zip(*(band_files(folder, threshold) for folder in folders), strict=True):
        repeated = mark_repeated(files, scratch)
        if marks is None:
            marks = repeated
        else:
            marks.join(repeated)
    return marks


def save_marks(scanned: Path, names: Sequence[str], threshold: float, target: Path, drops: Drops) -> dict[str, Any]:
    """The work of a `duplicates` unit: marks of repeated and of near texts of the folders `names` in `scanned`, files of these names."""
    folders = [scanned / name for name in names]
    again = mark_repeated([folder / KEYS for folder in folders], target)
    near = mark_near(folders, threshold, target)
    for number, name in enumerate(names):
        again.save(number, target / f'{name}.npy')
        if near:
            near.save(number, target / f'{name}.near.npy')
    return {}
