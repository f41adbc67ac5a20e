"""Captions by the picture they belong to, joined out of core.

Every source of captions (the corpus's own files, translations, img2dataset's records) is a unit that spills its rows into P partitions by
the hash of their key. One partition at a time is then grouped in memory, into a file of JSON lines with an index of (hash, offset), which
the build reads by memory map. Memory is bounded by the size of a partition, disk by that of the captions; pictures are never moved.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from data_pipeline.cleaning import empty, normalise, person
from data_pipeline.dedupe import hash64
from data_pipeline.drops import Drops
from data_pipeline.records import PICTURE_KEY, Caption

PARTITION_BYTES = 64 << 20  # of source files (compressed ones count fully); a partition of captions takes a few times that in memory
_DATA, _INDEX = 'captions.jsonl', 'index.npy'

Captions = dict[str, list[str]]  # language -> texts


def partitions(total: int) -> int:
    """Number of partitions for source files of `total` bytes; each is a file that is open while captions are spilled."""
    return min(512, total // PARTITION_BYTES + 1)


def key_hash(key: str) -> int:
    """Hash of a URL without its scheme (corpora spell the same address with http and https), or the number of a `picture:<image id>`."""
    if key.startswith(PICTURE_KEY):
        return int(key.removeprefix(PICTURE_KEY), 16)
    for scheme in ('http://', 'https://'):
        if key.startswith(scheme):
            key = key[len(scheme) :]
    return hash64(key)


def part_name(partition: int) -> str:
    return f'part-{partition:04}.jsonl'


def spill(captions: Iterable[Caption], fallback: bool, number: int, rules: bool, folder: Path, drops: Drops) -> None:
    """Clean captions and write them to `number` partition files.

    `fallback` rows only count where a key has no other caption in the same language.
    `rules`: replace CC12M's `<PERSON>`."""
    with contextlib.ExitStack() as stack:
        files: list[BinaryIO] = [stack.enter_context(open(folder / part_name(i), 'wb')) for i in range(number)]
        for caption in captions:
            text = normalise(caption.text)
            if empty(text):
                # A fallback that is empty loses nothing: the corpus's own file is the authority, and counts its own.
                drops.add('empty_caption', not fallback)
                continue
            hashed = key_hash(caption.key)
            row = [hashed, caption.language, person(text) if rules else text, int(fallback)]
            files[hashed % number].write(json.dumps(row, ensure_ascii=False).encode() + b'\n')


def group(spills: Iterable[Path], partition: int, pictured: npt.NDArray[np.uint64], folder: Path, drops: Drops) -> None:
    """Group one partition of all spills by key.

    Texts that a key has twice are kept once; keys without a picture (not among `pictured`) are counted.
    """
    grouped: dict[int, Captions] = {}
    fallbacks: dict[int, Captions] = {}
    for spilled in spills:
        with open(spilled / part_name(partition), 'rb') as handle:
            for line in handle:
                hashed, language, text, fallback = json.loads(line)
                texts = (fallbacks if fallback else grouped).setdefault(hashed, {}).setdefault(language, [])
                if text not in texts:
                    texts.append(text)
                elif not fallback:
                    drops.add('duplicate_caption')
    for hashed, captions in fallbacks.items():
        for language, texts in captions.items():
            grouped.setdefault(hashed, {}).setdefault(language, texts)
    hashes = np.array(sorted(grouped), np.uint64)
    offsets = np.empty(len(hashes), np.uint64)
    with open(folder / _DATA, 'wb') as out:
        for i, hashed in enumerate(hashes.tolist()):
            offsets[i] = out.tell()
            out.write(json.dumps(grouped[hashed], ensure_ascii=False).encode() + b'\n')
    np.save(folder / _INDEX, np.stack([hashes, offsets]), allow_pickle=False)
    drops.add('no_picture', int(len(hashes) - np.isin(hashes, pictured).sum()))


class CaptionStore:
    """Read access to the grouped partitions. Use as a context manager."""

    def __init__(self, folders: list[Path]) -> None:
        self._folders = folders
        self._open: dict[int, tuple[npt.NDArray[np.uint64], BinaryIO]] = {}

    def __enter__(self) -> CaptionStore:
        return self

    def __exit__(self, *exc: object) -> None:
        for _, handle in self._open.values():
            handle.close()

    def get(self, hashed: int) -> Captions:
        """Captions of a key's hash; none: an empty dict."""
        partition = hashed % len(self._folders)
        if partition not in self._open:
            folder = self._folders[partition]
            self._open[partition] = (np.load(folder / _INDEX, mmap_mode='r'), open(folder / _DATA, 'rb'))  # noqa: SIM115  (closed by __exit__)
        index, handle = self._open[partition]
        hashes, offsets = index[0], index[1]
        place = int(np.searchsorted(hashes, np.uint64(hashed)))
        if place == len(hashes) or int(hashes[place]) != hashed:
            return {}
        handle.seek(int(offsets[place]))
        captions: Captions = json.loads(handle.readline())
        return captions


def merge(into: Captions, more: Captions) -> None:
    """Add captions that are not there yet."""
    for language, texts in more.items():
        known = into.setdefault(language, [])
        known += [text for text in texts if text not in known]
