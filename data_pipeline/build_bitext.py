"""OPUS: every file of pairs is one unit. Scan (hashes of all pairs) -> duplicates of each language pair over all its files -> token ids."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from data_pipeline.cleaning import normalise, pair_drop, pair_length_drop
from data_pipeline.dedupe import hash64, repeated
from data_pipeline.drops import Drops
from data_pipeline.job import Job, inputs_of, relative, source_of
from data_pipeline.names import unit_names
from data_pipeline.readers import opus
from data_pipeline.records import Pair
from data_pipeline.work import Unit

_KEYS = 'keys.npy'
_BATCH = 1024  # pairs encoded at a time


def stages(job: Job) -> Iterator[list[Unit]]:
    """The stages of the build, each a list of units that need those of the stages before it."""
    bitexts = opus.files(job.raw)
    names = unit_names([relative(bitext.path, job) for bitext in bitexts])
    units = list(zip(names, bitexts, strict=True))
    yield [Unit('scan', name, inputs_of([bitext.path], job), partial(_scan, job, bitext)) for name, bitext in units]
    pairs: dict[str, dict[str, Path]] = {}
    for name, bitext in units:
        pairs.setdefault(bitext.pair, {})[name] = bitext.path
    yield [
        Unit('duplicates', pair, inputs_of(members.values(), job), partial(_duplicates, job, list(members)))
        for pair, members in pairs.items()
    ]
    yield [Unit('build', name, inputs_of([bitext.path], job), partial(_build, job, name, bitext)) for name, bitext in units]


def check(job: Job) -> list[Path]:
    """The files that the build reads. Raises UserError when something is missing."""
    files = [bitext.path for bitext in opus.files(job.raw)]
    job.loaded_tokenizer  # noqa: B018
    return files


def _clean(job: Job, bitext: opus.Bitext, drops: Drops) -> Iterator[Pair]:
    for pair in opus.pairs(bitext, job.settings.score, drops):
        first, second = normalise(pair.first), normalise(pair.second)
        reason = pair_drop(first, second, job.settings)
        if reason:
            drops.add(reason)
        else:
            yield Pair(first, second)


def _scan(job: Job, bitext: opus.Bitext, folder: Path, drops: Drops) -> dict[str, Any]:
    # Counted in the build, which reads the same rows again.
    keys = array('Q', (hash64(*pair) for pair in _clean(job, bitext, Drops())))
    np.save(folder / _KEYS, np.frombuffer(keys, np.uint64), allow_pickle=False)
    return {}


def _duplicates(job: Job, members: list[str], folder: Path, drops: Drops) -> dict[str, Any]:
    rows = repeated([np.load(job.work / 'scan' / name / _KEYS) for name in members])
    for name, again in zip(members, rows, strict=True):
        np.save(folder / f'{name}.npy', again, allow_pickle=False)
    return {}


def _build(job: Job, name: str, bitext: opus.Bitext, folder: Path, drops: Drops) -> dict[str, Any]:
    from data_pipeline.writer import UnitWriter  # streaming imports torch: only where shards are written

    again = set(np.load(job.work / 'duplicates' / bitext.pair / f'{name}.npy').tolist())
    writer = UnitWriter(folder, 'bitext', job.settings, bitext.pair)
    batch: list[Pair] = []
    for row, pair in enumerate(_clean(job, bitext, drops)):
        if row in again:
            drops.add('duplicate')
            continue
        batch.append(pair)
        if len(batch) == _BATCH:
            _write(job, bitext, batch, writer.add, drops)
            batch.clear()
    _write(job, bitext, batch, writer.add, drops)
    return {'below': bitext.pair, 'sources': [source_of(bitext.path, job)], 'streams': writer.finish()}


def _write(job: Job, bitext: opus.Bitext, batch: list[Pair], add: Any, drops: Drops) -> None:
    first_ids = job.loaded_tokenizer.encode_batch([pair.first for pair in batch])
    second_ids = job.loaded_tokenizer.encode_batch([pair.second for pair in batch])
    one, two = bitext.languages
    for pair, first, second in zip(batch, first_ids, second_ids, strict=True):
        reason = pair_length_drop(pair.first, pair.second, len(first), len(second), job.settings)
        if reason:
            drops.add(reason)
            continue
        sample = {'source_ids': np.array(first, np.int32), 'target_ids': np.array(second, np.int32)}
        add(sample, f'{pair.first}\n{pair.second}'.encode(), {one: 1, two: 1}, {one: len(first), two: len(second)})
