"""Writes the samples of one unit of work: an MDS writer for every stream it has samples for."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from streaming import MDSWriter

from data_pipeline.job import SHARDS
from data_pipeline.settings import Settings
from shards.schema import COLUMNS, Kind


@dataclass
class _Stream:
    writer: MDSWriter
    samples: int = 0
    languages: Counter[str] = field(default_factory=Counter)
    tokens: Counter[str] = field(default_factory=Counter)
    multilingual: list[int] = field(default_factory=list)


class UnitWriter:
    """`add` puts a sample into its split; `finish` closes the shards and returns what is known about each stream."""

    def __init__(self, folder: Path, kind: Kind, settings: Settings, below: str = '') -> None:
        """`below` is the part of a stream's name after the split: a language, a pair, or nothing."""
        self._folder, self._kind, self._settings, self._below = folder, kind, settings, below
        self._streams: dict[str, _Stream] = {}

    def add(self, sample: dict[str, Any], key: bytes, languages: dict[str, int], tokens: dict[str, int]) -> None:
        """`key` names the record: its hash decides the split. `languages` and `tokens` are what the sample adds to the counts."""
        name = '/'.join(filter(None, (split_of(key, self._settings.holdout), self._below)))
        stream = self._streams.get(name)
        if stream is None:
            stream = self._streams[name] = _Stream(self._writer(self._folder / SHARDS / name))
        stream.writer.write(sample)
        if self._kind == 'pictures' and len(languages) >= 2:
            stream.multilingual.append(stream.samples)
        stream.samples += 1
        stream.languages.update(languages)
        stream.tokens.update(tokens)

    def _writer(self, folder: Path) -> MDSWriter:
        compression = None if self._settings.compression == 'none' else self._settings.compression
        return MDSWriter(
            columns=COLUMNS[self._kind], out=str(folder), compression=compression, hashes=['sha256'], size_limit=self._settings.shard_bytes
        )

    def finish(self) -> dict[str, Any]:
        """{stream: {'samples', 'languages', 'tokens', 'multilingual', 'shards': entries of streaming's index}}, streams by name."""
        said = {}
        for name, stream in sorted(self._streams.items()):
            stream.writer.finish()
            (self._folder / SHARDS / name / 'index.json').unlink()  # `finish` writes the one of the whole stream
            said[name] = {
                'samples': stream.samples,
                'languages': dict(sorted(stream.languages.items())),
                'tokens': dict(sorted(stream.tokens.items())),
                'multilingual': stream.multilingual,
                'shards': stream.writer.shards,
            }
        return said


def split_of(key: bytes, holdout: float) -> str:
    """`val` for about `holdout` of all keys, else `train`; the same key always gets the same split."""
    return 'val' if int.from_bytes(hashlib.blake2b(key, digest_size=8, person=b'holdout').digest()) < holdout * 2**64 else 'train'
