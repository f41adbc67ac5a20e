"""One run a folder, whoever comes second."""

from __future__ import annotations

import errno
import fcntl
import os
import pickle
import re
from pathlib import Path

import pytest

from pretrain import lock, mistakes
from pretrain.lock import RunLock
from pretrain.mistakes import said_once
from shards.errors import UserError, run_command


def test_one_run_a_folder(tmp_path: Path) -> None:
    first = RunLock(tmp_path / 'run')
    with pytest.raises(UserError, match=r'another run is writing to .*run .its rank 0: process [0-9]+ on .+; stop it, or choose another'):
        RunLock(tmp_path / 'run', wait=0.1)
    first.close()
    RunLock(tmp_path / 'run', wait=0.1).close()


@pytest.mark.parametrize(('restarts', 'code', 'seconds'), [('0', 2, '0.1'), ('2', 75, '0.2')])
def test_a_requeued_job_comes_again_while_its_last_attempt_lives_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], restarts: str, code: int, seconds: str
) -> None:
    monkeypatch.setenv('SLURM_RESTART_COUNT', restarts)
    monkeypatch.setattr(lock, 'LOCK_WAIT', 0.1)
    monkeypatch.setattr(lock, 'REQUEUED_WAIT', 0.2)
    first = RunLock(tmp_path / 'run')
    with pytest.raises(UserError) as caught:
        RunLock(tmp_path / 'run')
    waiting = capsys.readouterr().err
    assert re.fullmatch(rf'waiting for another run in .*run \(its rank 0: process \d+ on .+\) to end, {seconds} s at most\n', waiting)

    def another_rank() -> int:
        raise pickle.loads(pickle.dumps(caught.value))  # noqa: S301  (as from_rank_0 brings it there)

    assert run_command(lambda: said_once(another_rank)) == code
    assert capsys.readouterr().err.startswith('error: another run is writing to')
    monkeypatch.setenv('LOCAL_RANK', '1')  # which lets the first one say it
    monkeypatch.setattr(mistakes, 'OTHERS', 0.0)
    assert run_command(lambda: said_once(another_rank)) == code
    first.close()


@pytest.mark.parametrize('number', [errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP])
def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def flock(file: object, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, 'flock', flock)
    with pytest.raises(UserError, match=r'the file system of .*run has no locks .*; mount it with them .*, or choose another `out`'):
        RunLock(tmp_path / 'run')
