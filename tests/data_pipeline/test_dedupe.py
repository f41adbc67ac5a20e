"""Exact duplicates over several sources."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from data_pipeline.dedupe import KeyFile, hash64, mark_repeated, marked, repeated
from data_pipeline.names import unit_names
from data_pipeline.writer import split_of


@given(
    sources=st.lists(st.lists(st.integers(0, 8).map(lambda i: i * (2**64 // 9)), max_size=24), max_size=5),
    bucket=st.sampled_from([2, 3, 99]),
)
def test_against_a_dict(sources: list[list[int]], bucket: int) -> None:
    """Whatever the size of the partitions, which are tiny here."""
    first: dict[int, tuple[int, int]] = {}
    expected: list[list[bool]] = []
    owners: dict[tuple[int, int], tuple[int, int]] = {}
    for number, source in enumerate(sources):
        expected.append([key in first or first.setdefault(key, (number, row)) != (number, row) for row, key in enumerate(source)])
        owners |= {(number, row): first[key] for row, key in enumerate(source) if expected[-1][row]}
    with TemporaryDirectory() as name, patch('data_pipeline.dedupe.BUCKET', bucket):
        folder = Path(name)
        files = [folder / f'{number}.u64' for number in range(len(sources))]
        for path, source in zip(files, sources, strict=True):
            with KeyFile(path) as keys:
                for key in source:
                    keys.append(key)
        marks = mark_repeated(files, folder)
        for number, flags in enumerate(expected):
            marks.save(number, folder / 'bits.npy')
            assert marks.of(number).tolist() == flags
            for begin in range(0, len(flags) + 1, 5):
                assert marked(folder / 'bits.npy', begin, len(flags)).tolist() == flags[begin:]
        blocks = [(np.array(source, np.uint64), np.arange(len(source)) + 100 * number) for number, source in enumerate(sources)]
        found = {
            divmod(int(row), 100): divmod(int(owner), 100)
            for rows, firsts in repeated(blocks, sum(map(len, sources)), folder)
            for row, owner in zip(rows, firsts, strict=True)
        }
        assert found == owners
        assert not list(folder.glob('bucket*'))


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
