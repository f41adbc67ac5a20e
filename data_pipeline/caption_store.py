"""Captions by the picture they belong to, joined out of core: an external sort.

Every source of captions (the corpus's own files, translations, img2dataset's records) is a unit that writes its rows as *runs*: as
many rows as fit in memory, sorted by the hash of their key. The hashes are then cut into partitions, as many as the size of all runs
demands, and one partition at a time is gathered from all runs and grouped, into a file of JSON lines with an index of (hash, offset), which
the build reads. Memory is bounded by the size of a run and of a partition, disk by that of the captions; pictures are never moved.

Runs are Arrow's IPC files: Arrow is here already, for img2dataset's parquet files, its columns take a fraction of Python's memory, and a
slice of a run is read without reading the rest. (DuckDB could do the whole join, but as one process with threads of its own it is no unit
of work: it could be neither shared between tasks nor continued.)
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data_pipeline.dedupe import hash64
from data_pipeline.drops import EXAMPLES, Drops
from data_pipeline.records import PICTURE_KEY, Caption

RUN_BYTES = 32 << 20  # of captions in a run; as Python objects they take three times that
PARTITION_BYTES = 32 << 20  # of captions in a partition; grouping takes about ten times that
_BATCH = 1 << 14  # rows of a record batch: what is turned into Python objects at a time
_encode_json = json.JSONEncoder(ensure_ascii=False).encode  # json.dumps would make one for every call
_DATA, _INDEX = 'captions.jsonl', 'index.npy'
_SCHEMA = pa.schema({'hash': pa.uint64(), 'language': pa.string(), 'text': pa.large_string(), 'fallback': pa.bool_()})

Captions = dict[str, list[str]]  # language -> texts


@lru_cache(1)  # a picture's URL is asked for several times in a row, as are the rows of its translations
def key_hash(key: str) -> int:
    """Hash of a URL without its scheme (corpora spell the same address with http and https), or the number of a `picture:<image id>`."""
    if key.startswith(PICTURE_KEY):
        return int(key.removeprefix(PICTURE_KEY), 16)
    for scheme in ('http://', 'https://'):
        if key.startswith(scheme):
            key = key[len(scheme) :]
    return hash64(key)


NO_URL = key_hash('')  # of pictures that came with their captions


class _Run:
    """Rows of captions in memory, and the sorted files that they become."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.number, self.bytes = folder, 0, 0
        self._clear()

    def _clear(self) -> None:
        self.rows: tuple[list[int], list[str], list[str], list[bool]] = ([], [], [], [])
        self.size = 0

    def append(self, hashed: int, language: str, text: str, fallback: bool) -> None:
        hashes, languages, texts, fallbacks = self.rows
        hashes.append(hashed)
        languages.append(language)
        texts.append(text)
        fallbacks.append(fallback)
        self.size += 4 * len(text) + 64  # at most, and what a row costs besides
        if self.size >= 4 * RUN_BYTES:
            self.flush()

    def flush(self) -> None:
        if not self.rows[0]:
            return
        table = pa.table([pa.array(column, field.type) for column, field in zip(self.rows, _SCHEMA, strict=True)], schema=_SCHEMA)
        self._clear()
        # A stable sort keeps the order of the source among rows of the same key; Arrow's sort is not.
        table = table.take(np.argsort(table['hash'].to_numpy(), kind='stable'))
        with pa.OSFile(str(self.folder / _run_name(self.number)), 'wb') as file, pa.ipc.new_file(file, _SCHEMA) as writer:
            writer.write_table(table, max_chunksize=_BATCH)
        self.number += 1
        self.bytes += table.nbytes


def _run_name(number: int) -> str:
    return f'run-{number:04}.arrow'


def spill(captions: Iterable[Caption], fallback: bool, folder: Path) -> dict[str, Any]:
    """Write clean captions as sorted runs; {'runs': names of the files, 'caption_bytes': their size in memory}.

    `fallback` rows only count where a key has no other caption in the same language.
    """
    run = _Run(folder)
    for caption in captions:
        run.append(key_hash(caption.key), caption.language, caption.text, fallback)
    run.flush()
    return {'runs': [_run_name(i) for i in range(run.number)], 'caption_bytes': run.bytes}


def partitions(total: int) -> int:
    """Number of partitions for captions of `total` bytes."""
    return total // PARTITION_BYTES + 1


def partition_of(hashes: npt.NDArray[np.uint64], number: int) -> npt.NDArray[np.int64]:
    """Partition of each hash: an interval of hashes each, so that a partition is a slice of a sorted run."""
    return ((hashes >> np.uint64(32)) * np.uint64(number) >> np.uint64(32)).astype(np.int64)


def _rows(runs: Iterable[Path], partition: int, number: int) -> Iterator[tuple[int, str, str, bool]]:
    """(hash, language, text, fallback) of the rows of a partition, run by run; only the record batches that hold some are read."""
    for path in runs:
        with pa.OSFile(str(path), 'rb') as file:
            reader = pa.ipc.open_file(file)
            # The batches are sorted: find the first by bisection, stop after the last.
            low, high = 0, reader.num_record_batches
            while low < high:
                middle = (low + high) // 2
                if partition_of(reader.get_batch(middle)['hash'].to_numpy()[-1:], number)[0] < partition:
                    low = middle + 1
                else:
                    high = middle
            for i in range(low, reader.num_record_batches):
                batch = reader.get_batch(i)
                inside = partition_of(batch['hash'].to_numpy(), number)
                yield from zip(*(column.to_pylist() for column in batch.slice(*_slice(inside, partition)).columns), strict=True)
                if inside[-1] > partition:
                    break


def _slice(inside: npt.NDArray[np.int64], partition: int) -> tuple[int, int]:
    begin, end = np.searchsorted(inside, [partition, partition + 1]).tolist()
    return begin, end - begin


def group(runs: Iterable[Path], partition: int, number: int, pictured: npt.NDArray[np.uint64], folder: Path, drops: Drops) -> None:
    """Group one of `number` partitions of all runs by key.

    Texts that a key has twice are kept once; keys without a picture (not among `pictured`) are counted.
    """
    grouped: dict[int, Captions] = {}
    fallbacks: dict[int, Captions] = {}
    for hashed, language, text, fallback in _rows(runs, partition, number):
        texts = (fallbacks if fallback else grouped).setdefault(hashed, {}).setdefault(language, [])
        if text not in texts:
            texts.append(text)
        elif not fallback:
            drops.add('duplicate_caption', 1, f'{language}: {text}')
    for hashed, captions in fallbacks.items():
        for language, texts in captions.items():
            grouped.setdefault(hashed, {}).setdefault(language, texts)
    hashes = np.array(sorted(grouped), np.uint64)
    offsets = np.empty(len(hashes), np.uint64)
    place = 0
    with open(folder / _DATA, 'wb') as out:
        for i, hashed in enumerate(hashes.tolist()):
            offsets[i] = place
            place += out.write(_encode_json(grouped[hashed]).encode() + b'\n')
    np.save(folder / _INDEX, np.stack([hashes, offsets]), allow_pickle=False)
    lost = hashes[~np.isin(hashes, pictured)].tolist()
    for hashed in lost[:EXAMPLES]:
        drops.add('no_picture', 1, ' '.join(f'{language}: {texts[0]}' for language, texts in grouped[hashed].items()))
    drops.add('no_picture', len(lost[EXAMPLES:]))


class CaptionStore:
    """Read access to the grouped partitions. Use as a context manager."""

    def __init__(self, folders: list[Path]) -> None:
        self._folders = folders
        self._open: dict[int, tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64], BinaryIO]] = {}

    def __enter__(self) -> CaptionStore:
        return self

    def __exit__(self, *exc: object) -> None:
        for *_, handle in self._open.values():
            handle.close()

    def places(self, hashes: npt.NDArray[np.uint64]) -> list[tuple[int, int]]:
        """Where the captions of each key's hash are, for `at`: one look at all of them, as one at each would take longer than to read."""
        partitions = partition_of(hashes, len(self._folders))
        found = np.full(len(hashes), -1, np.int64)
        for partition in np.unique(partitions).tolist():
            mine = np.flatnonzero(partitions == partition)
            keys, offsets, _ = self._partition(partition)
            if len(keys):
                place = np.minimum(keys.searchsorted(hashes[mine]), len(keys) - 1)
                there = keys[place] == hashes[mine]
                found[mine[there]] = offsets[place[there]]
        return list(zip(partitions.tolist(), found.tolist(), strict=True))

    def at(self, place: tuple[int, int]) -> Captions:
        """Captions at one of the `places`; none: an empty dict."""
        partition, offset = place
        if offset < 0:
            return {}
        handle = self._open[partition][2]
        handle.seek(offset)
        captions: Captions = json.loads(handle.readline().decode())
        return captions

    def get(self, hashed: int) -> Captions:
        """Captions of a key's hash; none: an empty dict."""
        return self.at(self.places(np.array([hashed], np.uint64))[0])

    def _partition(self, number: int) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64], BinaryIO]:
        """Hashes, offsets and file of a partition, which is opened when it is first asked for."""
        if number not in self._open:
            folder = self._folders[number]
            hashes, offsets = np.load(folder / _INDEX, mmap_mode='r')
            self._open[number] = (hashes.view(np.ndarray), offsets, open(folder / _DATA, 'rb'))  # noqa: SIM115  (closed by __exit__)
        return self._open[number]


def merge(into: Captions, more: Captions) -> None:
    """Add captions that are not there yet."""
    for language, texts in more.items():
        known = into.setdefault(language, [])
        known += [text for text in texts if text not in known]
