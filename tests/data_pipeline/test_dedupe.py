"""Exact duplicates over several sources."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from data_pipeline.dedupe import hash64, repeated
from data_pipeline.names import unit_names
from data_pipeline.writer import split_of


@given(st.lists(st.lists(st.integers(0, 8), max_size=8), max_size=5))
def test_against_a_set(sources: list[list[int]]) -> None:
    seen: set[int] = set()
    expected = []
    for source in sources:
        again = []
        for row, key in enumerate(source):
            if key in seen:
                again.append(row)
            seen.add(key)
        expected.append(again)
    assert [rows.tolist() for rows in repeated([np.array(source, np.uint64) for source in sources])] == expected


def test_hash_keeps_parts_apart() -> None:
    assert hash64('ab', 'c') != hash64('a', 'bc') != hash64('abc')
    assert hash64('ab', b'c') == hash64('ab', 'c')
    assert 0 <= hash64('x') < 2**64


def test_split_is_by_key_and_near_the_share() -> None:
    keys = [f'key {i}'.encode() for i in range(20_000)]
    held = [key for key in keys if split_of(key, 0.04) == 'val']
    assert 700 < len(held) < 900
    assert {split_of(key, 0.04) for key in held} == {'val'}
    # A larger share holds out the same records and more.
    assert all(split_of(key, 0.1) == 'val' for key in held)
    assert {split_of(key, 0.0) for key in keys} == {'train'}


def test_unit_names() -> None:
    names = unit_names(
        ['images/00000.tar', 'images/00001.tar', 'A/v1/en-fr.txt.zip', 'a b.txt.xz', 'x/00000', 'x/00000.parquet', '../up.tar', 'été.tar']
    )
    assert names[:4] == ['images-00000', 'images-00001', 'A-v1-en-fr', 'a-b']
    assert len(set(names)) == len(names)
    assert all(name.replace('-', '').replace('_', '').replace('.', '').isalnum() and not name.startswith('.') for name in names)
