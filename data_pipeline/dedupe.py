"""Exact duplicates across units of work, by 64-bit hashes, in bounded memory.

Two passes: every source is scanned into a file of keys in the order of its records (a unit of work), then all files together decide which
record is the first of its kind (another unit). The order is that of the sources and their rows, so the decision never depends on who works
when. With 2^64 values two different records among 10^8 are taken for equal with probability 0.0003.

The second pass is an external hash partition: (key, row) go to files by the leading bits of the key, and one file at a time is looked at.
What stays in memory are the keys of one file and one bit a record.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import xxhash

Keys = npt.NDArray[np.uint64]
Rows = npt.NDArray[np.int64]

BUCKET = 1 << 21  # records of a partition, and of what is read at a time: 2 Mi (key, row) are 32 MiB, sorting them takes as much again
_MOST_BUCKETS = 512  # files open at a time
_ROW = np.dtype([('key', np.uint64), ('row', np.int64)])


def hash64(*parts: str | bytes) -> int:
    """64-bit hash of a sequence of texts (xxHash's XXH3, twenty times as fast as a cryptographic one)."""
    if len(parts) == 1:
        return xxhash.xxh3_64_intdigest(parts[0])
    data = [part.encode('utf8') if isinstance(part, str) else part for part in parts]
    return xxhash.xxh3_64_intdigest(b''.join([len(part).to_bytes(8, 'big') + part for part in data]))


def hashes64(texts: Iterable[bytes]) -> list[int]:
    """`hash64` of each of many texts, without a call for each."""
    return list(map(xxhash.xxh3_64_intdigest, texts))


class KeyFile:
    """Writes hashes of records to a file as they come. Use as a context manager."""

    def __init__(self, path: Path) -> None:
        self._file = open(path, 'wb')  # noqa: SIM115  (closed by __exit__)
        self._keys: list[int] = []

    def append(self, key: int) -> None:
        self.extend((key,))

    def extend(self, keys: Iterable[int]) -> None:
        self._keys.extend(keys)
        if len(self._keys) >= 1 << 16:
            self._flush()

    def _flush(self) -> None:
        self._file.write(np.array(self._keys, np.uint64).tobytes())
        self._keys.clear()

    def __enter__(self) -> KeyFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if kind is None:
                self._flush()
        finally:
            self._file.close()


def key_blocks(path: Path) -> Iterator[Keys]:
    """The keys of a file, `BUCKET` at a time."""
    with open(path, 'rb') as file:
        while len(block := _read(file, np.dtype(np.uint64))):
            yield block


def _read(file: BinaryIO, kind: np.dtype[Any]) -> npt.NDArray[Any]:
    """At most `BUCKET` records. numpy takes memory for all that it is asked for, which for a small file costs more than all else."""
    left = (os.fstat(file.fileno()).st_size - file.tell()) // kind.itemsize
    return np.fromfile(file, kind, min(left, BUCKET))


def repeated(blocks: Iterable[tuple[Keys, Rows]], number: int, scratch: Path) -> Iterator[tuple[Rows, Rows]]:
    """(rows whose key occurred before, the row of the first occurrence of each), in parts of no particular order.

    `blocks` are keys with their rows, rows ascending; `number` is about how many there are in all; `scratch` a folder for temporary files.
    """
    buckets = min(_MOST_BUCKETS, number // BUCKET + 1)
    paths = [scratch / f'bucket-{i:03}' for i in range(buckets)]
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(open(path, 'wb')) for path in paths]
        for keys, rows in blocks:
            # Hashes are spread evenly: the leading 32 bits choose the file.
            chosen = ((keys >> np.uint64(32)) * np.uint64(buckets) >> np.uint64(32)).astype(np.int64)
            order = np.argsort(chosen, kind='stable')
            records = np.empty(len(keys), _ROW)
            records['key'], records['row'] = keys[order], rows[order]
            ends = np.searchsorted(chosen[order], np.arange(buckets), 'right').tolist()
            for file, begin, end in zip(files, [0, *ends], ends, strict=False):
                file.write(records[begin:end].tobytes())
    for path in paths:
        yield from _within(path)
        path.unlink()


def _within(path: Path) -> Iterator[tuple[Rows, Rows]]:
    """`repeated` of one partition, read in parts, so that a key that occurs without end (all records are the same) does no harm."""
    known: Keys = np.empty(0, np.uint64)
    first: Rows = np.empty(0, np.int64)
    with open(path, 'rb') as file:
        while len(records := _read(file, _ROW)):
            keys, rows = records['key'], records['row']
            distinct, index, inverse = np.unique(keys, return_index=True, return_inverse=True)
            owner: Rows = rows[index]
            place: Rows = np.atleast_1d(np.searchsorted(known, distinct))
            old = np.zeros(len(distinct), bool)
            inside = place < len(known)
            old[inside] = known[place[inside]] == distinct[inside]
            owner[old] = first[place[old]]
            owners = owner[inverse]
            again = owners != rows
            yield rows[again], owners[again]
            merged = np.concatenate([known, distinct[~old]])
            order = np.argsort(merged, kind='stable')
            known, first = merged[order], np.concatenate([first, owner[~old]])[order]


class Marks:
    """A bit for each record of several sources. Rows are counted through all sources; each source begins at a multiple of 8."""

    def __init__(self, sizes: Sequence[int]) -> None:
        self.sizes = list(sizes)
        self.starts: list[int] = []
        total = 0
        for size in sizes:
            self.starts.append(total)
            total += -(-size // 8) * 8
        self._bits = np.zeros(total // 8, np.uint8)

    def add(self, rows: Rows) -> None:
        np.bitwise_or.at(self._bits, rows >> 3, (1 << (rows & 7)).astype(np.uint8))

    def join(self, other: Marks) -> None:
        """Mark also what `other`, of the same sources, has marked."""
        self._bits |= other._bits

    def save(self, source: int, path: Path) -> None:
        """One source's bits as a file for `marked`."""
        start = self.starts[source] // 8
        np.save(path, self._bits[start : start + -(-self.sizes[source] // 8)], allow_pickle=False)

    def of(self, source: int) -> npt.NDArray[np.bool_]:
        start = self.starts[source] // 8
        bits = self._bits[start : start + -(-self.sizes[source] // 8)]
        return np.unpackbits(bits, count=self.sizes[source], bitorder='little').astype(bool)


def marked(path: Path, begin: int, end: int) -> npt.NDArray[np.bool_]:
    """Flags of the rows begin to end of a source from its file of bits."""
    bits = np.load(path, mmap_mode='r', allow_pickle=False)[begin // 8 : -(-end // 8)]
    return np.unpackbits(bits, bitorder='little')[begin % 8 : begin % 8 + end - begin].astype(bool)


def mark_repeated(files: Sequence[Path], scratch: Path) -> Marks:
    """Marks of the records whose key occurred before, in an earlier file of keys or row."""
    marks = Marks([path.stat().st_size // 8 for path in files])

    def blocks() -> Iterator[tuple[Keys, Rows]]:
        for path, start in zip(files, marks.starts, strict=True):
            for keys in key_blocks(path):
                yield keys, np.arange(start, start + len(keys))
                start += len(keys)

    for rows, _ in repeated(blocks(), sum(marks.sizes), scratch):
        marks.add(rows)
    return marks
