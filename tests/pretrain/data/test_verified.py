"""A shard is read whole by one process of a machine, and by another one whenever that could find something else."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import pickle
import time
from pathlib import Path
from typing import Any

import pytest

from pretrain.data import verified
from pretrain.data.streams import RecordStream
from pretrain.data.verified import SETTLED, has_sha256
from shards.errors import UserError
from tests.pretrain.data.small_shards import PER_SHARD, Record, write_pictures

CONTENT = b'shard' * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """What was read whole."""
    found: list[Path] = []
    plain = verified.file_sha256

    def counted(path: Path) -> str:
        found.append(path)
        return plain(path)

    monkeypatch.setattr(verified, 'file_sha256', counted)
    return found


@pytest.fixture
def shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One that counts as old at once."""
    monkeypatch.setattr(verified, 'SETTLED', 0.0)
    path = tmp_path / 'shard.mds'
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    return tmp_path / 'cache' / 'verified'


def test_it_is_read_once(shard: Path, notes: Path, reads: list[Path]) -> None:
    assert all(has_sha256(shard, DIGEST, notes, 0) for _ in range(3))
    assert reads == [shard]
    assert not has_sha256(shard, 'f' * 64, notes, 0), 'another index names another one'


def rewritten(path: Path) -> None:
    """In place, with the same size and time of modification."""
    before = path.stat()
    with path.open('r+b') as file:
        file.write(b'S')
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replaced(path: Path) -> None:
    """By another one of the same size and times."""
    before, other = path.stat(), path.with_name('other')
    other.write_bytes(b'S' + CONTENT[1:])
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.rename(path)


def cut_off(path: Path) -> None:
    path.write_bytes(CONTENT[:-1])


@pytest.mark.parametrize('change', [rewritten, replaced, cut_off])
def test_a_file_that_changed_is_read_again(shard: Path, notes: Path, reads: list[Path], change: Any) -> None:
    assert has_sha256(shard, DIGEST, notes, 0)
    time.sleep(0.02)  # a step of the clock of file systems
    change(shard)
    assert not has_sha256(shard, DIGEST, notes, 0) and not has_sha256(shard, DIGEST, notes, 0), 'nor does what was believed come back'
    assert len(reads) == 3


def test_a_run_that_is_started_again_reads_again(shard: Path, notes: Path, reads: list[Path]) -> None:
    assert has_sha256(shard, DIGEST, notes, time.monotonic())
    since = time.monotonic()
    assert has_sha256(shard, DIGEST, notes, since) and has_sha256(shard, DIGEST, notes, since)
    assert len(reads) == 2


def test_what_fails_takes_the_note_of_an_earlier_start_with_it(shard: Path, notes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that has gone bad changes a file and no time: the reader of the older start must find it as well."""
    assert has_sha256(shard, DIGEST, notes, 0)
    monkeypatch.setattr(verified, 'file_sha256', lambda path: 'f' * 64)
    assert not has_sha256(shard, DIGEST, notes, time.monotonic())
    assert not has_sha256(shard, DIGEST, notes, 0)


def test_a_file_that_was_just_made_is_read_by_each(shard: Path, notes: Path, reads: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verified, 'SETTLED', SETTLED)
    assert has_sha256(shard, DIGEST, notes, 0) and has_sha256(shard, DIGEST, notes, 0)
    assert len(reads) == 2


def test_a_file_that_changes_while_it_is_read_is_read_by_the_next(shard: Path, notes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = verified.file_sha256

    def changing(path: Path) -> str:
        found = read(path)
        time.sleep(0.02)
        rewritten(path)
        return found

    monkeypatch.setattr(verified, 'file_sha256', changing)
    assert has_sha256(shard, DIGEST, notes, 0), 'as it would have been found before'
    monkeypatch.setattr(verified, 'file_sha256', read)
    assert not has_sha256(shard, DIGEST, notes, 0)


@pytest.mark.parametrize('kept', [0, 40, -1])
def test_a_note_that_was_not_written_to_its_end_is_not_believed(shard: Path, notes: Path, reads: list[Path], kept: int) -> None:
    assert has_sha256(shard, DIGEST, notes, 0)
    (note,) = notes.iterdir()
    note.write_bytes(note.read_bytes()[:kept])
    assert has_sha256(shard, DIGEST, notes, 0) and len(reads) == 2
    assert has_sha256(shard, DIGEST, notes, 0) and len(reads) == 2, 'it is written anew'


def test_a_note_of_another_start_of_the_machine_is_not_believed(
    shard: Path, notes: Path, reads: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert has_sha256(shard, DIGEST, notes, 0)
    (tmp_path / 'boot').write_text('another\n')
    monkeypatch.setattr(verified, '_BOOT', tmp_path / 'boot')
    assert has_sha256(shard, DIGEST, notes, 0) and len(reads) == 2
    assert len(list(notes.iterdir())) == 1, 'they do not pile up'


@pytest.mark.parametrize('where', ['cache', '/proc/nowhere'])
def test_without_a_place_for_notes_each_reads_for_itself(shard: Path, tmp_path: Path, reads: list[Path], where: str) -> None:
    (tmp_path / 'cache').write_text('a file where a folder should be')
    assert has_sha256(shard, DIGEST, tmp_path / where, 0) and has_sha256(shard, DIGEST, tmp_path / where, 0)
    assert len(reads) == 2


def test_a_full_disk_holds_nobody_up(shard: Path, notes: Path, reads: list[Path]) -> None:
    assert has_sha256(shard, DIGEST, notes, 0)
    (note,) = notes.iterdir()
    note.unlink()
    note.symlink_to('/dev/full')
    assert has_sha256(shard, DIGEST, notes, 0) and has_sha256(shard, DIGEST, notes, 0)
    assert len(reads) == 3


def _verify(shard: Path, notes: Path, ready: Any, count: Any) -> None:
    plain = verified.file_sha256

    def slowly(path: Path) -> str:
        with count.get_lock():
            count.value += 1
        time.sleep(0.3)
        return plain(path)

    verified.file_sha256 = slowly
    ready.wait()
    assert has_sha256(shard, DIGEST, notes, 0)


@pytest.mark.parametrize('killed', [False, True])
def test_processes_that_come_at_once_read_once(shard: Path, notes: Path, killed: bool) -> None:
    """And when the one that reads is killed, another one does."""
    context = multiprocessing.get_context('fork')
    ready, count = context.Barrier(3), context.Value('i', 0)
    readers = [context.Process(target=_verify, args=(shard, notes, ready, count)) for _ in range(3)]
    for reader in readers:
        reader.start()
    if killed:
        while not notes.exists():
            time.sleep(0.001)
        while not (holder := [reader for reader in readers if reader.pid == _locker(notes)]):
            time.sleep(0.001)
        holder[0].kill()
        readers.remove(holder[0])
    for reader in readers:
        reader.join(60)
    assert [reader.exitcode for reader in readers] == [0] * len(readers)
    assert count.value == (2 if killed else 1)


def _locker(notes: Path) -> int | None:
    """The process that has locked the note, if it has begun to read."""
    inodes = {str(note.stat().st_ino) for note in notes.iterdir()}
    for line in Path('/proc/locks').read_text().splitlines():
        fields = line.split()
        if '->' not in fields and fields[1] == 'FLOCK' and fields[5].rpartition(':')[2] in inodes:
            return int(fields[4])
    return None


@pytest.fixture
def stream(tmp_path: Path, pictures: list[Record], monkeypatch: pytest.MonkeyPatch) -> RecordStream:
    """Of two shards that count as old."""
    monkeypatch.setattr(verified, 'SETTLED', 0.0)
    write_pictures(tmp_path / 'wit' / 'train', 'wit', pictures[: 2 * PER_SHARD])
    return RecordStream(tmp_path / 'wit' / 'train', 'wit', 'train', 0, str(tmp_path / 'cache'))


def test_readers_of_a_run_read_each_shard_whole_once(stream: RecordStream, reads: list[Path]) -> None:
    """Those of several loader processes, which are copies; the shards' folder is only read."""
    folder = stream.folder
    assert isinstance(folder, Path)
    before = sorted(folder.rglob('*'))
    copies = [pickle.loads(pickle.dumps(stream)) for _ in range(3)]  # noqa: S301 (what multiprocessing does)
    assert len({copy.record(0)['image_id'] for copy in copies}) == 1 and len(reads) == 1
    assert len({copy.record(PER_SHARD)['image_id'] for copy in copies}) == 1 and len(reads) == 2
    assert sorted(folder.rglob('*')) == before
    again = RecordStream(folder, 'wit', 'train', 0, str(folder.parents[1] / 'cache'))
    again.record(0)
    assert len(reads) == 3, 'the next start looks for itself'


def test_a_shard_that_is_damaged_between_two_readers_is_found(stream: RecordStream) -> None:
    copies = [pickle.loads(pickle.dumps(stream)) for _ in range(2)]  # noqa: S301
    copies[0].record(0)
    path = stream._file(0)
    assert isinstance(path, Path)
    time.sleep(0.02)
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(UserError, match=rf'{path} cannot be read \(its contents do not have the SHA-256 that index.json names\)'):
        copies[1].record(0)
