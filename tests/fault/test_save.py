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

from pretrain.engine.checkpoint import LATEST, STATE, check, checkpoints, newest_valid, tidy
from pretrain.records import EVENTS, METRICS
from tests.support.distributed import alone
from tests.support.launch import ROOT

pytestmark = [pytest.mark.slow]

KILLED = -9
Answer = tuple[Path, dict[str, str]]


class Saving:
    """The process of saving.py."""

    def __init__(self, library: Path):
        script = [*alone(LD_PRELOAD=str(library)), str(ROOT / 'tests/fault/saving.py')]
        self.process = subprocess.Popen(script, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def save(self, folder: Path, crash: dict[str, str] | None = None, again: bool = False) -> int:
        """Save the next checkpoint below `folder`, or the newest `again`; returns the exit code of the process that did."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps({'folder': str(folder), 'crash': crash or {}, 'again': again}) + '\n')
        self.process.stdin.flush()
        return int(self.process.stdout.readline())


@pytest.fixture(scope='module')
def saving(crash_library: Path) -> Iterator[Saving]:
    saving = Saving(crash_library)
    with saving.process:  # at its end both pipes are closed, which ends it
        yield saving


def operations(saving: Saving, folder: Path, log: Path, part: str = '', again: bool = False) -> list[tuple[str, str]]:
    """(call, path) of every operation that the next save makes on files whose path has `part` (those below the folder), in order."""
    assert saving.save(folder, {'CRASH_PATH': part or str(folder), 'CRASH_LOG': str(log)}, again) == 0
    return [(call, path) for call, _, path in (line.partition(' ') for line in log.read_text().splitlines())]


def killed(saving: Saving, before: Path, scratch: Path, again: bool = False) -> tuple[list[tuple[str, str]], Counter[str]]:
    """Kill the next save of `before` at every operation: whatever is there is whole. Returns the operations, and how often which
    checkpoint was the newest.
    """
    found = operations(saving, Path(shutil.copytree(before, scratch / 'counted')), scratch / 'log', again=again)
    newest: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    for call, path in found:
        seen[call] += 1
        folder = Path(shutil.copytree(before, scratch / 'killed'))
        crash = {'CRASH_PATH': str(folder), 'CRASH_CALL': call, 'CRASH_COUNT': str(seen[call])}
        assert saving.save(folder, crash, again) == KILLED, (call, path)
        survivor, problems = newest_valid(folder)
        assert survivor is not None and not problems, (call, path, problems)
        assert check(folder / (folder / LATEST).read_text().strip()) is None, f'latest is incomplete after a kill at {call} {path}'
        assert all(check(other) is None for other in checkpoints(folder)), (call, path)
        newest[survivor.name] += 1
        tidy(folder)
        assert not [left for left in folder.iterdir() if left.name.startswith('.') and left.is_dir()]
        shutil.rmtree(folder)
    return found, newest


@pytest.fixture(scope='module')
def before(saving: Saving, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints of steps 1 and 2."""
    folder = tmp_path_factory.mktemp('before') / 'checkpoints'
    for _ in range(2):
        assert saving.save(folder) == 0
    return folder


def test_killed_at_every_operation_of_a_save(saving: Saving, before: Path, tmp_path: Path) -> None:
    found, newest = killed(saving, before, tmp_path)
    calls = Counter(call for call, _ in found)
    assert calls['fsync'] >= 6 and calls['rename'] >= 3 and calls['write'] >= 3 and calls['unlink'] >= 3 and calls['mkdir'] >= 1, found
    assert newest.keys() == {'step-0000002', 'step-0000003'}
    assert newest['step-0000002'] >= 5 and newest['step-0000003'] >= 5, 'kills before and after the rename'


def test_a_step_that_is_saved_again_is_never_without_its_checkpoint(saving: Saving, before: Path, tmp_path: Path) -> None:
    """As after a save that failed behind its rename."""
    found, newest = killed(saving, before, tmp_path, again=True)
    assert newest == {'step-0000002': len(found)}


def test_folders_are_on_the_disk_before_what_relies_on_them(saving: Saving, tmp_path: Path) -> None:
    """A crash of the machine loses entries of a folder that was not synced, whatever the files in it were."""
    run = tmp_path / 'run'
    run.mkdir()
    folder = run / 'checkpoints'
    found = operations(saving, folder, tmp_path / 'log', part=str(run))
    staging = folder / '.staging-step-0000001'

    def at(call: str, path: str, after: int = 0) -> int:
        return found.index((call, path), after)

    assert at('mkdir', str(folder)) < at('fsync', str(run)), found
    renamed = at('rename', f'{staging} -> {folder / "step-0000001"}')
    for path in (run, folder, staging, staging / 'weights-00000-of-00001.safetensors', staging / STATE):
        assert at('fsync', str(path)) < renamed, path
    published = at('rename', f'{folder / ".latest"} -> {folder / LATEST}')
    assert renamed < at('fsync', str(folder), renamed) < at('fsync', str(folder / '.latest')) < published
    assert at('fsync', str(folder), published) > published


RECORDS = """
import os, sys
from pathlib import Path
from pretrain.records import Records
os.environ['CRASH_LOG'] = sys.argv[2]
os.environ['CRASH_PATH'] = sys.argv[1]
records = Records(Path(sys.argv[1]), 1)
records.event('resume')
records.sync()
"""


def test_records_are_on_the_disk_with_the_names_that_they_have(crash_library: Path, tmp_path: Path) -> None:
    run = tmp_path / 'run'
    run.mkdir()
    (run / METRICS).write_text('{"step": 1}\n{"step": 2}\n')
    environment = {**os.environ, 'LD_PRELOAD': str(crash_library), 'PYTHONPATH': str(ROOT)}
    subprocess.run([sys.executable, '-c', RECORDS, str(run), str(tmp_path / 'log')], env=environment, check=True)
    found = (tmp_path / 'log').read_text().splitlines()
    aside, kept = (found.index(f'rename {run}/.{name} -> {run}/{name}') for name in ('metrics.attempt-1.jsonl', METRICS))
    assert found.index(f'fsync {run}/.metrics.attempt-1.jsonl') < aside < found.index(f'fsync {run}/.{METRICS}') < kept
    assert f'fsync {run}' in found[aside:kept] and found.index(f'fsync {run}', kept) < found.index(f'write {run}/{EVENTS}')
    assert found.index(f'open {run}/{EVENTS}') < found.index(f'fsync {run}/{EVENTS}') < len(found) - 1 and found[-1] == f'fsync {run}'


def test_the_save_after_a_kill_succeeds(saving: Saving, tmp_path: Path) -> None:
    for crash in ({'CRASH_CALL': 'write', 'CRASH_PATH': '.staging-'}, {'CRASH_CALL': 'fsync', 'CRASH_PATH': 'checkpoints/.staging'}):
        folder = tmp_path / 'checkpoints'
        assert saving.save(folder) == 0
        assert saving.save(folder, crash) == KILLED
        assert saving.save(folder) == 0
    assert [path.name for path in checkpoints(folder)] == ['step-0000003', 'step-0000004']
    assert (folder / LATEST).read_text() == 'step-0000004\n'
