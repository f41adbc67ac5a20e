"""Shards in streaming's MDS format (version 2), byte by byte those of its own `MDSWriter`; the tests compare.

It exists for three reasons. It is several times faster (MDSWriter parses every JSON that it has just written, and builds arrays for two
integers). It holds a shard once in memory, not three times. And streaming imports torch, which a worker that only writes need not load.

    file     number of samples, offsets of the samples and of the end (uint32), the configuration as JSON, samples
    sample   size of each column whose size varies (uint32), then the columns, sorted by name
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import zstd

from data_pipeline import buffer
from shards.durable import begin_sync

_encode_json = json.JSONEncoder().encode  # json.dumps without looking at its options again


def encode_ids(ids: Any) -> bytes:
    """A one-dimensional int32 array of at least one element, as `ndarray:int32` has it: axes and integer width, length, values."""
    number = len(ids)
    if number < 1 << 8:
        return struct.pack('<BB', 4, number) + ids.tobytes()
    return (struct.pack('<BH', 5, number) if number < 1 << 16 else struct.pack('<BI', 6, number)) + ids.tobytes()


class IdHeads(dict[int, bytes]):
    """By its number of ids: what stands before the ids in a record whose only column is `ndarray:int32`."""

    def __missing__(self, number: int) -> bytes:
        head = encode_ids(np.zeros(number, np.int32))[: -4 * number]
        self[number] = (len(head) + 4 * number).to_bytes(4, 'little') + head
        return self[number]


_ENCODERS: dict[str, Callable[[Any], bytes]] = {
    'bytes': bytes,
    'str': str.encode,
    'json': lambda value: _encode_json(value).encode(),
    'ndarray:int32': encode_ids,
}


class ShardWriter:
    """Writes the shards of one stream into a folder. `shards` are the entries of streaming's index; `finish` completes them."""

    def __init__(self, folder: Path, columns: dict[str, str], compression: str | None, size_limit: int) -> None:
        """`compression` is None, `zstd` or `zstd:LEVEL`; `size_limit` the bytes of a shard before compression."""
        self.shards: list[dict[str, Any]] = []
        self._folder, self._compression, self._limit = folder, compression, size_limit
        self._names = sorted(columns)
        self._encoders = [_ENCODERS[columns[name]] for name in self._names]
        self._config = {
            'version': 2,
            'format': 'mds',
            'compression': compression,
            'hashes': ['sha256'],
            'size_limit': size_limit,
            'column_names': self._names,
            'column_encodings': [columns[name] for name in self._names],
            'column_sizes': [None] * len(self._names),
        }
        self._head = json.dumps(self._config, sort_keys=True).encode()
        self._sizes = struct.Struct(f'<{len(self._names)}I').pack
        folder.mkdir(parents=True)
        self._body = buffer.take()
        self._reset()

    def _reset(self) -> None:
        self._body.clear()
        self._lengths: list[int] = []
        self._size = 8 + len(self._head)

    def write(self, sample: dict[str, Any]) -> None:
        """Add a sample: a value for each column."""
        self.write_encoded([encode(sample[name]) for name, encode in zip(self._names, self._encoders, strict=True)])

    def write_encoded(self, data: list[bytes]) -> None:
        """`write` of columns that are encoded already, in the order of their names."""
        head = self._sizes(*map(len, data))
        length = len(head) + sum(map(len, data))
        if self._size + length + 4 > self._limit and self._lengths:
            self._flush()
        self._size += length + 4
        if self._size > self._body.capacity:
            self._body.reserve(self._size)
        write = self._body.write
        write(head)
        for part in data:
            write(part)
        self._lengths.append(length)

    def write_records(self, records: list[bytes]) -> None:
        """`write` of many samples that are whole records already, the sizes of their columns in front."""
        lengths = list(map(len, records))
        size = self._size + sum(lengths) + 4 * len(lengths)
        if size <= self._limit:
            if size > self._body.capacity:
                self._body.reserve(size)
            self._body.write(b''.join(records))
            self._lengths += lengths
            self._size = size
            return
        for record, length in zip(records, lengths, strict=True):
            if self._size + length + 4 > self._limit and self._lengths:
                self._flush()
            self._size += length + 4
            if self._size > self._body.capacity:
                self._body.reserve(self._size)
            self._body.write(record)
            self._lengths.append(length)

    def finish(self) -> None:
        """Write the last shard. Nothing can be added then."""
        if self._lengths:
            self._flush()
        buffer.give_back(self._body)
        del self._body

    def _flush(self) -> None:
        offsets = np.cumsum([8 + 4 * len(self._lengths) + len(self._head), *self._lengths]).astype('<u4')
        head = len(self._lengths).to_bytes(4, 'little') + offsets.tobytes() + self._head
        name = f'shard.{len(self.shards):05}.mds'
        with self._body.view() as body:
            parts: list[bytes | memoryview] = [head, body]
            raw, zipped = _file(name, parts), None
            if self._compression:
                _, _, level = self._compression.partition(':')
                parts = [zstd.compress(b''.join(parts), int(level or 3))]
                name += '.zstd'
                zipped = _file(name, parts)
            with open(self._folder / name, 'wb', buffering=0) as file:
                for part in parts:
                    _write_all(file, part)
        begin_sync(self._folder / name)
        self.shards.append({'samples': len(self._lengths), 'raw_data': raw, 'zip_data': zipped, **self._config})
        self._reset()


def _write_all(file: Any, part: bytes | memoryview) -> None:
    view = memoryview(part)
    while view:  # a raw file may write less than it was given
        view = view[file.write(view) :]


def _file(name: str, parts: list[bytes | memoryview]) -> dict[str, Any]:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return {'basename': name, 'bytes': sum(map(len, parts)), 'hashes': {'sha256': digest.hexdigest()}}
