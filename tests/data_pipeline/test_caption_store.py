"""The external join of captions against a dictionary."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from data_pipeline import caption_store
from data_pipeline.caption_store import CaptionStore, group, key_hash, partition_of, partitions, spill
from data_pipeline.drops import Drops
from data_pipeline.records import Caption


@pytest.mark.parametrize(('run_bytes', 'partition_bytes'), [(200, 300), (2000, 5000), (1 << 25, 1 << 25)])
def test_against_a_dictionary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_bytes: int, partition_bytes: int) -> None:
    monkeypatch.setattr(caption_store, 'RUN_BYTES', run_bytes)
    monkeypatch.setattr(caption_store, 'PARTITION_BYTES', partition_bytes)
    monkeypatch.setattr(caption_store, '_BATCH', 7)
    chance = random.Random(0)
    keys = [f'https://example.org/{number}' for number in range(60)] + ['picture:00000000000000ff', 'picture:ffffffffffffffff']
    expected: dict[int, dict[str, list[str]]] = {}
    drops, runs, total, repeated = Drops(), [], 0, 0
    for source in range(4):
        folder = tmp_path / f'scan-{source}'
        folder.mkdir()
        rows = []
        for _ in range(150):
            key, language, text = chance.choice(keys), chance.choice(['de', 'zh']), f'ein {chance.choice("äöü")}狗'
            rows.append(Caption(key.replace('https', chance.choice(['http', 'https'])), language, text))
            texts = expected.setdefault(key_hash(key), {}).setdefault(language, [])
            if text in texts:
                repeated += 1
            else:
                texts.append(text)
        said = spill(rows, False, folder)
        runs += [folder / name for name in said['runs']]
        total += said['caption_bytes']
    fallback = tmp_path / 'fallback'
    fallback.mkdir()
    said = spill([Caption(keys[0], 'de', 'unused'), Caption('http://new', 'fr', 'neuf')], True, fallback)
    runs += [fallback / name for name in said['runs']]
    expected[key_hash('http://new')] = {'fr': ['neuf']}
    number = partitions(total)
    assert number > (1 if partition_bytes < 1 << 20 else 0)
    pictured = np.array([key_hash(keys[0])], np.uint64)
    for partition in range(number):
        folder = tmp_path / f'group-{partition}'
        folder.mkdir()
        group(runs, partition, number, pictured[partition_of(pictured, number) == partition], folder, drops)
    with CaptionStore([tmp_path / f'group-{partition}' for partition in range(number)]) as store:
        assert {hashed: store.get(hashed) for hashed in expected} == expected
        assert store.get(12345) == {}
        places = store.places(np.array([12345, *expected], np.uint64))
        assert [store.at(place) for place in places] == [{}, *expected.values()]
    assert drops.counts == {'duplicate_caption': repeated, 'no_picture': len(expected) - 1}
