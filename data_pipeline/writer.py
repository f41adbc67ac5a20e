"""Writes the samples of one unit of work: a shard writer for every stream it has samples for."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from operator import add, sub
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from data_pipeline.job import SHARDS
from data_pipeline.mds import IdHeads, ShardWriter
from data_pipeline.settings import Settings
from shards.schema import COLUMNS, Kind


@dataclass
class _Stream:
    writer: ShardWriter
    samples: int = 0
    languages: Counter[str] = field(default_factory=Counter)
    tokens: Counter[str] = field(default_factory=Counter)
    licences: Counter[str] = field(default_factory=Counter)
    multilingual: list[int] = field(default_factory=list)


class UnitWriter:
    """`add` puts a sample into its split; `finish` closes the shards and returns what is known about each stream."""

    def __init__(self, folder: Path, kind: Kind, settings: Settings, below: str = '', licence: str = '') -> None:
        """`below`: the part of a stream's name behind the split, perhaps nothing. `licence`: of texts; a picture has its own."""
        self._folder, self._kind, self._settings, self._below, self._licence = folder, kind, settings, below, licence
        self._splits: dict[str, _Stream] = {}
        self._id_heads = IdHeads()

    def add(self, sample: dict[str, Any], key: bytes, languages: dict[str, int], tokens: dict[str, int]) -> None:
        """`key` names the record: its hash decides the split. `languages` and `tokens` are what the sample adds to the counts."""
        stream = self._stream(key)
        stream.writer.write(sample)
        if self._kind == 'pictures' and len(languages) >= 2:
            stream.multilingual.append(stream.samples)
        stream.samples += 1
        stream.licences[sample.get('licence', self._licence)] += 1
        for counts, more in ((stream.languages, languages), (stream.tokens, tokens)):
            for language, number in more.items():  # Counter.update takes ten times as long
                counts[language] += number

    def add_sequences(self, ids: NDArray[np.int32], ends: list[int], language: str) -> None:
        """`add` of many samples of a text stream, whose ids (int32) stand after each other; an id's bytes are a sample's key."""
        data, bounds = ids.tobytes(), [0, *ends]
        sequences = [data[4 * begin : 4 * end] for begin, end in pairwise(bounds)]
        heads = map(self._id_heads.__getitem__, map(sub, ends, bounds))
        records = list(map(add, heads, sequences))
        below, digest = _bound(self._settings.holdout), xxhash.xxh3_64_intdigest
        # `split_of`, without its calls: there are a great many sequences.
        held = [number for number, sequence in enumerate(sequences) if digest(sequence, _SEED) < below] if below else []
        tokens = sum(len(sequences[number]) for number in held) // 4
        self._write('val', [records[number] for number in held], language, tokens)
        for number in reversed(held):
            del records[number]
        self._write('train', records, language, bounds[-1] - tokens)

    def _write(self, split: str, records: list[bytes], language: str, tokens: int) -> None:
        if records:
            stream = self._open(split)
            stream.writer.write_records(records)
            stream.samples += len(records)
            stream.licences[self._licence] += len(records)
            stream.languages[language] += len(records)
            stream.tokens[language] += tokens

    def _stream(self, key: bytes) -> _Stream:
        return self._open(split_of(key, self._settings.holdout))

    def _open(self, split: str) -> _Stream:
        if split not in self._splits:
            folder = self._folder / SHARDS / '/'.join(filter(None, (split, self._below)))
            compression = None if self._settings.compression == 'none' else self._settings.compression
            self._splits[split] = _Stream(ShardWriter(folder, COLUMNS[self._kind], compression, self._settings.shard_bytes))
        return self._splits[split]

    def finish(self) -> dict[str, Any]:
        """{stream: {'samples', 'languages', 'tokens', 'licences', 'multilingual', 'shards': entries of streaming's index}}, by name."""
        said = {}
        for split, stream in sorted(self._splits.items()):
            stream.writer.finish()
            said['/'.join(filter(None, (split, self._below)))] = {
                'samples': stream.samples,
                'languages': dict(sorted(stream.languages.items())),
                'tokens': dict(sorted(stream.tokens.items())),
                'licences': dict(sorted(stream.licences.items())),
                'multilingual': stream.multilingual,
                'shards': stream.writer.shards,
            }
        return said


_SEED = 1  # another hash than that of `dedupe.hash64`


def split_of(key: bytes, holdout: float) -> str:
    """`val` for about `holdout` of all keys, else `train`; the same key always gets the same split."""
    return 'val' if xxhash.xxh3_64_intdigest(key, _SEED) < _bound(holdout) else 'train'


@cache
def _bound(holdout: float) -> int:
    """The hashes below it are `holdout` of all."""
    return math.ceil(holdout * 2**64)
