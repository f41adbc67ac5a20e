"""A file of inline pictures is one unit, however many it holds: its records are looked at in blocks, and take little memory each."""

from __future__ import annotations

import shutil
import tracemalloc
from collections import deque
from pathlib import Path

import numpy as np
import pytest

from data_pipeline.build import build
from data_pipeline.build_pictures import _IDS, _URLS, _decided
from data_pipeline.caption_store import NO_URL, CaptionStore
from data_pipeline.job import Job
from data_pipeline.picture_sources import PictureSource
from data_pipeline.settings import Settings
from tests.data_pipeline.conftest import SAMPLE, tree

ROWS = 100_000


def test_memory_of_a_record(tmp_path: Path) -> None:
    """Arrays of 8 bytes for the hashes of URL and picture, and what is looked up in them for a moment; lists took about 300 bytes."""
    job = Job('cc3m', tmp_path, tmp_path, Settings())
    scan, duplicates, partition = (job.work / name for name in ('scan/large', 'group/duplicates', 'group/partition-0000'))
    for folder in (scan, duplicates, partition):
        folder.mkdir(parents=True)
    ids = np.random.default_rng(0).integers(0, 2**63, ROWS, np.uint64)
    np.save(scan / _IDS, ids)
    np.save(scan / _URLS, np.full(ROWS, NO_URL, np.uint64))
    np.save(duplicates / 'large.npy', np.zeros(ROWS, np.uint8))
    np.save(duplicates / 'large.extra.npy', np.array([[ROWS - 2, 7], [ROWS - 2, 8], [ROWS - 1, 9]], np.uint64))
    np.save(partition / 'index.npy', np.stack([np.sort(ids), np.arange(ROWS, dtype=np.uint64)]))
    (partition / 'captions.jsonl').touch()
    with CaptionStore([partition]) as store:
        tracemalloc.start()
        last = deque(_decided(job, PictureSource('large', tmp_path / 'large', None), store), 3)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert [one.number for one in last] == ids[-3:].tolist()
    assert [one.further for one in last] == [[], [7, 8], [9]] and [len(one.places) for one in last] == [2, 4, 3]
    assert peak < 64 * ROWS


def test_blocks_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Duplicates with captions that join others, excluded URLs and inline pictures, in blocks that end anywhere."""
    folder = tmp_path / 'raw'
    shutil.copytree(SAMPLE / 'raw/cc3m', folder)
    for suffix in ('tar', 'parquet'):
        (folder / f'images/00001.{suffix}').symlink_to(folder / f'images/00000.{suffix}')
    rows = (folder / 'Train_GCC-training.tsv').read_text().split('\n')
    (tmp_path / 'exclude.tsv').write_text('\n'.join(rows[:50]))

    def built(out: str) -> dict[str, bytes]:
        assert build(Job('cc3m', folder, tmp_path / out, Settings(holdout=0.04), exclude=(tmp_path / 'exclude.tsv',)), 1, 0, 1)
        return tree(tmp_path / out)

    whole = built('whole')
    monkeypatch.setattr('data_pipeline.build_pictures._ROWS', 7)
    assert built('blocks') == whole
