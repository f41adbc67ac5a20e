"""URLs of the pictures in built shards, read from the shards themselves without reading the pictures."""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import zstd

from shards.errors import UserError
from shards.schema import COLUMNS, INDEX, MANIFEST, read_manifest


def shard_urls(folder: Path) -> Iterator[str]:
    """URLs of every picture stream at or below a folder. Records without one (pictures that came with their captions) give nothing."""
    for stream in sorted(path.parent for path in folder.rglob(MANIFEST)):
        if read_manifest(stream).kind == 'pictures':
            for entry in json.loads((stream / INDEX).read_text(encoding='utf8'))['shards']:
                yield from filter(None, urls_of(stream, entry))


def urls_of(stream: Path, entry: dict[str, Any]) -> list[str]:
    """URL of each sample of a shard, given its entry in the index. Raises UserError when the shard is missing or damaged."""
    zipped = entry['zip_data']
    path = stream / (zipped or entry['raw_data'])['basename']
    columns = sorted(COLUMNS['pictures'])
    if entry['column_names'] != columns or columns[-1] != 'url':
        raise UserError(f'{path} has other columns than pictures have; build this stream again')
    try:
        if zipped:
            return _urls(zstd.decompress(path.read_bytes()), len(columns))
        with open(path, 'rb') as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _urls(data, len(columns))
    except (OSError, ValueError, IndexError, zstd.Error) as error:
        raise UserError(f'{path} cannot be read ({error}); check it with `data_pipeline verify`') from None


def _urls(data: bytes | mmap.mmap, columns: int) -> list[str]:
    """A sample begins with the sizes of its columns; `url` is the last of them."""
    number = int.from_bytes(data[:4], 'little')
    offsets = np.frombuffer(data[4 : 4 + 4 * (number + 1)], '<u4').tolist()
    found = []
    for begin, end in pairwise(offsets):
        size = int.from_bytes(data[begin + 4 * (columns - 1) : begin + 4 * columns], 'little')
        found.append(bytes(data[end - size : end]).decode('utf8') if size else '')
    return found
