"""Samples of built picture shards by URL, read from the shards themselves without decoding, or even reading, the pictures."""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zstd

from data_pipeline.caption_store import key_hash
from data_pipeline.records import PICTURE_KEY
from shards.errors import UserError
from shards.schema import COLUMNS, INDEX, MANIFEST, read_manifest
from shards.storage import Location, Remote

ALIASES = 'aliases.npy'  # of a unit, below .build/CORPUS/build: URLs at which a picture that was kept occurred as well

_COLUMNS = sorted(COLUMNS['pictures'])  # the order in a shard


class Sample:
    """One sample of a shard: a window on its bytes, which begin with the sizes of the columns."""

    def __init__(self, data: bytes | mmap.mmap, begin: int) -> None:
        self._data = data
        count = len(_COLUMNS)
        sizes = np.frombuffer(data[begin : begin + 4 * count], '<u4').tolist()
        self._ends = np.cumsum([begin + 4 * count, *sizes]).tolist()

    @property
    def columns(self) -> list[bytes]:
        """Encoded columns, by name."""
        return [bytes(self._data[begin:end]) for begin, end in pairwise(self._ends)]

    def _column(self, name: str) -> bytes:
        place = _COLUMNS.index(name)
        return bytes(self._data[self._ends[place] : self._ends[place + 1]])

    @property
    def url(self) -> str:
        return self._column('url').decode('utf8')

    @property
    def url_hash(self) -> int:
        """`key_hash` of the URL."""
        return key_hash(self.url)

    @property
    def image_hash(self) -> int:
        """`key_hash` of the image id."""
        return key_hash(PICTURE_KEY + self._column('image_id').decode('utf8'))

    @property
    def licence(self) -> str:
        return self._column('licence').decode('utf8')

    @property
    def captions(self) -> dict[str, list[str]]:
        captions: dict[str, list[str]] = json.loads(self._column('captions'))
        return captions


def shard_urls(folder: Location) -> Iterator[str]:
    """URLs of every picture stream at or below a folder. Records without one (pictures that came with their captions) give nothing."""
    for stream in sorted(path.parent for path in folder.rglob(MANIFEST)):
        if read_manifest(stream).kind == 'pictures':
            for entry in json.loads((stream / INDEX).read_text(encoding='utf8'))['shards']:
                yield from filter(None, (sample.url for sample in samples_of(stream, entry)))


def aliases_of(work: Path, unit: str) -> npt.NDArray[np.uint64] | None:
    """(hash of a further URL, number of the picture's image id) of a unit's pictures; None when an earlier version built it."""
    path = work / 'build' / unit / ALIASES
    return np.load(path) if path.exists() else None


def samples_of(folder: Location, entry: dict[str, Any]) -> list[Sample]:
    """Samples of a shard, given its entry in the index and the folder that its name is below.

    Raises UserError when the shard is missing or damaged.
    """
    zipped = entry['zip_data']
    path = folder / (zipped or entry['raw_data'])['basename']
    if entry['column_names'] != _COLUMNS:
        raise UserError(f'{path} has other columns than pictures have; build this stream again')
    try:
        if zipped or isinstance(path, Remote):
            data = path.read_bytes()
            return _samples(zstd.decompress(data) if zipped else data)
        with open(path, 'rb') as file:
            return _samples(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError, IndexError, zstd.Error) as error:
        raise UserError(f'{path} cannot be read ({error}); check it with `data_pipeline verify`') from None


def _samples(data: bytes | mmap.mmap) -> list[Sample]:
    number = int.from_bytes(data[:4], 'little')
    return [Sample(data, begin) for begin in np.frombuffer(data[4 : 4 + 4 * number], '<u4').tolist()]
