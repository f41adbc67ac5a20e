"""The shard writer against streaming's own."""

from __future__ import annotations

import json
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from streaming import MDSWriter

from data_pipeline.mds import ShardWriter
from data_pipeline.settings import Settings
from data_pipeline.writer import UnitWriter
from shards.schema import COLUMNS, Kind
from tests.data_pipeline.conftest import tree


def pictures(number: int) -> dict[str, Any]:
    captions = {'de': ['ein Hund', 'zwei'], 'zh': ['一只狗 \U0001f415'], 'he': ['"\\ \u2028']}
    return {
        'image': bytes(range(number % 256)) * 9,
        'captions': captions,
        'url': f'http://é/{number}',
        'licence': '',
        'image_id': f'{number:016x}',
    }


def text(number: int) -> dict[str, Any]:
    return {'ids': np.arange(1 + number**3 % 300, dtype=np.int32)}


def bitext(number: int) -> dict[str, Any]:
    return {'source_ids': np.arange(1, 3 + number, dtype=np.int32), 'target_ids': np.full(255 + number % 3, 250_000, np.int32)}


@pytest.mark.parametrize('compression', [None, 'zstd', 'zstd:7'])
@pytest.mark.parametrize(('kind', 'sample'), [('pictures', pictures), ('text', text), ('bitext', bitext)])
def test_same_bytes_as_streaming(tmp_path: Path, kind: Kind, sample: Any, compression: str | None) -> None:
    ours = ShardWriter(tmp_path / 'ours', COLUMNS[kind], compression, 20_000)
    theirs = MDSWriter(columns=COLUMNS[kind], out=str(tmp_path / 'theirs'), compression=compression, hashes=['sha256'], size_limit=20_000)
    for number in range(150):
        ours.write(sample(number))
        theirs.write(sample(number))
    ours.finish()
    theirs.finish()
    names = sorted(path.name for path in (tmp_path / 'ours').iterdir())
    assert len(names) > 3
    assert sorted([*names, 'index.json']) == sorted(path.name for path in (tmp_path / 'theirs').iterdir())
    for name in names:
        assert (tmp_path / 'ours' / name).read_bytes() == (tmp_path / 'theirs' / name).read_bytes(), name
    assert json.loads((tmp_path / 'theirs/index.json').read_text())['shards'] == ours.shards


@pytest.mark.parametrize('batch', [1, 7, 1000])
def test_whole_records(tmp_path: Path, batch: int) -> None:
    """Sequences that stand after each other become the shards of one sample at a time."""
    settings = Settings(shard_bytes=5000, holdout=0.3)
    ids = [np.arange(1 + number**3 % 300, dtype=np.int32) for number in range(150)]
    one, many = UnitWriter(tmp_path / 'one', 'text', settings, 'de'), UnitWriter(tmp_path / 'many', 'text', settings, 'de')
    for some in ids:
        one.add({'ids': some}, some.tobytes(), {'de': 1}, {'de': len(some)})
    for start in range(0, len(ids), batch):
        part = ids[start : start + batch]
        many.add_sequences(np.concatenate(part), list(accumulate(map(len, part))), 'de')
    said = one.finish()
    assert said == many.finish()
    assert len(said['train/de']['shards']) > 3 and said['val/de']['samples'] > 20
    assert tree(tmp_path / 'one') == tree(tmp_path / 'many')


def test_long_arrays_and_samples_above_the_limit(tmp_path: Path) -> None:
    """70,000 ids need a wider length; a sample above the limit has a shard of its own (MDSWriter may put an empty one before)."""
    from streaming.base.format import reader_from_json

    writer = ShardWriter(tmp_path / 'out', COLUMNS['text'], None, 5000)
    arrays = [np.arange(number, dtype=np.int32) for number in (70_000, 3, 5)]
    for ids in arrays:
        writer.write({'ids': ids})
    writer.finish()
    assert [shard['samples'] for shard in writer.shards] == [1, 2]
    readers = [reader_from_json(str(tmp_path), 'out', shard) for shard in writer.shards]
    found = [reader.get_item(i)['ids'] for reader in readers for i in range(reader.samples)]
    assert all((one == other).all() and one.dtype == np.int32 for one, other in zip(found, arrays, strict=True))
