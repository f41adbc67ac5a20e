"""A file is hashed once, however it is read."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import xxhash
from hypothesis import given
from hypothesis import strategies as st

from data_pipeline.source_hash import HashedFile, file_xxh3


@given(
    size=st.integers(0, 300),
    steps=st.lists(st.tuples(st.sampled_from([0, 1, 2]), st.integers(-80, 120), st.integers(0, 150)), max_size=8),
    block=st.sampled_from([16, 64]),
)
def test_in_any_order(size: int, steps: list[tuple[int, int, int]], block: int) -> None:
    data = bytes(i * 7 % 251 for i in range(size))
    with TemporaryDirectory() as name, patch('data_pipeline.source_hash._BLOCK', block):
        path = Path(name) / 'file'
        path.write_bytes(data)
        with path.open('rb') as plain, HashedFile(path) as file:
            reader = file.buffered()
            for whence, offset, number in steps:
                base = (0, plain.tell(), size)[whence]
                if base + offset >= 0:  # forwards, backwards, beyond the end
                    assert reader.seek(offset, whence) == plain.seek(offset, whence)
                assert reader.read(number) == plain.read(number)
                assert reader.tell() == plain.tell()
            assert file.xxh3() == xxhash.xxh3_128_hexdigest(data)
            assert file.xxh3() == xxhash.xxh3_128_hexdigest(data)
        assert file_xxh3(path) == xxhash.xxh3_128_hexdigest(data)


def test_what_xxhsum_prints(tmp_path: Path) -> None:
    """XXH3's published 128-bit hash of nothing."""
    (tmp_path / 'empty').write_bytes(b'')
    assert file_xxh3(tmp_path / 'empty') == '99aa06d3014798d86001c324468d497f'
