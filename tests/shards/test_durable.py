"""Files are on the disk when it is said, and what fails to reach it is told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from shards import durable
from shards.durable import begin_sync, replace, sync_all


@pytest.fixture
def flushed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Inodes of what was flushed."""
    real, inodes = os.fsync, []

    def fsync(handle: int) -> None:
        inodes.append(os.fstat(handle).st_ino)
        real(handle)

    monkeypatch.setattr(durable.os, 'fsync', fsync)
    return inodes


def test_a_large_file_is_flushed_early_and_once_more_with_the_others(tmp_path: Path, flushed: list[int]) -> None:
    large, small = tmp_path / 'large', tmp_path / 'small'
    large.write_bytes(bytes(durable._LARGE))
    small.write_bytes(b'x')
    begin_sync(large)
    begin_sync(small)
    sync_all([])
    assert flushed == [large.stat().st_ino], 'a small one waits for the end'
    sync_all([tmp_path, large, small])
    assert sorted(flushed[1:]) == sorted(path.stat().st_ino for path in (tmp_path, large, small))


def test_a_flush_that_failed_in_the_background_is_raised_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    large = tmp_path / 'large'
    large.write_bytes(bytes(durable._LARGE))

    def full(handle: int) -> None:
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(durable.os, 'fsync', full)
    begin_sync(large)
    with pytest.raises(OSError, match='No space left'):
        sync_all([])
    monkeypatch.undo()
    sync_all([large])  # the failure is told once


@pytest.mark.parametrize('by_several', [False, True])
def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_several: bool) -> None:
    path = tmp_path / 'file'
    replace(path, [b'old'], by_several)

    def full(handle: int) -> None:
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(durable.os, 'fsync', full)
    with pytest.raises(OSError, match='No space left'):
        replace(path, [b'new'], by_several)
    assert path.read_bytes() == b'old' and [*tmp_path.iterdir()] == [path]
