"""SIGKILL at every single file operation of a save: the newest checkpoint that is there is whole, and the next save succeeds."""
from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from pretrain.engine.checkpoint import LATEST, check, checkpoints, newest_valid, tidy
from tests.support.launch import ROOT

pytestmark = [pytest.mark.slow]

KILLED = -9
Answer = tuple[Path, dict[str, str]]


class Saving:
    """The process of saving.py."""

    def __init__(self, library: Path):
        environment = {**os.environ, 'LD_PRELOAD': str(library), 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(ROOT), 'DS_ACCELERATOR': 'cpu'}
        script = [sys.executable, '-m', 'tests.fault.saving']
        self.process = subprocess.Popen(script, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def save(self, folder: Path, crash: dict[str, str] | None = None) -> int:
        """Save the next checkpoint below `folder`; returns the exit code of the process that did."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps({'folder': str(folder), 'crash': crash or {}}) + '\n')
        self.process.stdin.flush()
        return int(self.process.stdout.readline())


@pytest.fixture(scope='module')
def saving(crash_library: Path) -> Iterator[Saving]:
    saving = Saving(crash_library)
    yield saving
    assert saving.process.stdin
    saving.process.stdin.close()
    saving.process.wait(60)


def operations(saving: Saving, folder: Path, log: Path) -> list[tuple[str, str]]:
    """(call, path) of every operation on files that the next save makes, in order."""
    assert saving.save(folder, {'CRASH_PATH': str(folder), 'CRASH_LOG': str(log)}) == 0
    return [(call, path) for call, _, path in (line.partition(' ') for line in log.read_text().splitlines())]


def test_killed_at_every_operation_of_a_save(saving: Saving, tmp_path: Path) -> None:
    before = tmp_path / 'before'
    for _ in range(2):
        assert saving.save(before) == 0
    found = operations(saving, Path(shutil.copytree(before, tmp_path / 'counted')), tmp_path / 'log')
    calls = Counter(call for call, _ in found)
    assert calls['fsync'] >= 6 and calls['rename'] >= 3 and calls['write'] >= 3 and calls['unlink'] >= 3 and calls['mkdir'] >= 1, found
    stages: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    for call, path in found:
        seen[call] += 1
        folder = Path(shutil.copytree(before, tmp_path / 'killed'))
        assert saving.save(folder, {'CRASH_PATH': str(folder), 'CRASH_CALL': call, 'CRASH_COUNT': str(seen[call])}) == KILLED, (call, path)
        survivor, problems = newest_valid(folder)
        assert survivor is not None and not problems, (call, path, problems)
        assert survivor.name in ('step-0000002', 'step-0000003'), (call, path)
        assert check(folder / (folder / LATEST).read_text().strip()) is None, f'latest is incomplete after a kill at {call} {path}'
        assert all(check(other) is None for other in checkpoints(folder)), (call, path)
        stages[survivor.name] += 1
        tidy(folder)
        assert not [left for left in folder.iterdir() if left.name.startswith('.') and left.is_dir()]
        shutil.rmtree(folder)
    assert stages['step-0000002'] >= 5 and stages['step-0000003'] >= 5, 'kills before and after the rename'


def test_the_save_after_a_kill_succeeds(saving: Saving, tmp_path: Path) -> None:
    for crash in ({'CRASH_CALL': 'write', 'CRASH_PATH': '.staging-'}, {'CRASH_CALL': 'fsync', 'CRASH_PATH': 'checkpoints/.staging'}):
        folder = tmp_path / 'checkpoints'
        assert saving.save(folder) == 0
        assert saving.save(folder, crash) == KILLED
        assert saving.save(folder) == 0
    assert [path.name for path in checkpoints(folder)] == ['step-0000003', 'step-0000004']
    assert (folder / LATEST).read_text() == 'step-0000004\n'
