"""Tasks of an array at the same time: what each of them does, and what it leaves to the others."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from data_pipeline.drops import Drops
from data_pipeline.finish import finish
from data_pipeline.work import Unit, execute, facts
from data_pipeline.workers import run_units
from tests.data_pipeline.conftest import SAMPLE, Builder, tree

Raw = Callable[..., Path]
ROOT = Path(__file__).parents[2]
LANGUAGES = ['en', 'de', 'th', 'zh-Hans', 'fr', 'ru', 'ja', 'hi']

# In every process of a build: who begins which unit of the first stage is noted, and each of them takes a second
# from when both tasks are there.
WATCHED = """
import os, sys, time

def noted(event, arguments):
    if event == 'os.mkdir' and str(arguments[0]).endswith('.part') and os.path.dirname(arguments[0]).endswith('/split'):
        if not os.path.isdir(os.path.dirname(arguments[0])):
            return  # Path.mkdir tries again when it has made that one
        with open(os.environ['BEGUN'], 'a') as file:
            file.write(os.environ['TASK'] + ' ' + os.path.basename(arguments[0])[1:].split('.', 1)[0] + chr(10))
        while {line[0] for line in open(os.environ['BEGUN'])} != {'0', '1'}:
            time.sleep(0.05)
        time.sleep(1)

sys.addaudithook(noted)
"""


def test_two_tasks_at_the_same_time_share_the_scan(build_corpus: Builder, raw: Raw, tokenizer: Path, tmp_path: Path) -> None:
    """Two processes each. A task begins with its own share, and a unit that another one is at is done again by an idle task only."""
    folder, out, begun = raw('cc100', *(f'{code}.txt.xz' for code in LANGUAGES)), tmp_path / 'out', tmp_path / 'begun'
    (tmp_path / 'site').mkdir()
    (tmp_path / 'site/sitecustomize.py').write_text(WATCHED)
    command = [
        sys.executable, '-m', 'data_pipeline', 'build', 'cc100', '--raw', str(folder), '--out', str(out), '--tokenizer', str(tokenizer),
        '--workers', '2', '--tasks', '2', '--task',
    ]  # fmt: skip
    environment = {**os.environ, 'PYTHONPATH': str(tmp_path / 'site'), 'BEGUN': str(begun)}
    tasks = [
        subprocess.Popen([*command, str(task)], cwd=ROOT, env={**environment, 'TASK': str(task)}, stdout=subprocess.DEVNULL)
        for task in range(2)
    ]
    assert [task.wait() for task in tasks] == [0, 0]
    done = [tuple(line.split()) for line in begun.read_text().splitlines()]
    sizes = {code: (SAMPLE / f'raw/cc100/{code}.txt.xz').stat().st_size for code in LANGUAGES}
    largest = sorted(sorted(LANGUAGES), key=lambda code: -sizes[code])
    for number in range(2):
        first = [unit for task, unit in done if task == str(number)][:2]
        assert set(first) == set(largest[number::2][:2]), done
    counts = Counter(unit for _, unit in done)
    assert set(counts) == set(LANGUAGES) and counts.total() <= len(LANGUAGES) + 3, done
    finish(out)
    build_corpus('cc100', tmp_path / 'one', folder)
    assert tree(out) == tree(tmp_path / 'one')


def note(log: Path, seconds: float, name: str, folder: Path, drops: Drops) -> dict[str, Any]:
    """What a unit of these tests does: says that it has begun, and takes its time."""
    with log.open('a') as file:
        file.write(f'{name}\n')
    time.sleep(seconds)
    return {}


def noting(log: Path, names: str, seconds: float = 0) -> list[Unit]:
    return [Unit('scan', name, [(name, 1)], partial(note, log, seconds, name)) for name in names]


def theirs(work: Path, name: str, pid: int = 1) -> Path:
    """The temporary folder of another task, on another machine."""
    folder = work / 'scan' / f'.{name}.elsewhere.{pid}.part'
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize('workers', [1, 2])
def test_what_others_are_at_comes_last(tmp_path: Path, workers: int) -> None:
    """And of that first what the fewest are at. It comes all the same: they may be dead."""
    work, log = tmp_path / 'work', tmp_path / 'log'
    for name, pid in (('a', 1), ('a', 2), ('b', 1), ('d', 1)):
        theirs(work, name, pid)
    run_units(work, noting(log, 'abcdef'), 'test', workers, shared=True)
    begun = log.read_text().split()
    assert (set(begun[:3]), begun[3:]) == (set('cef'), ['b', 'd', 'a'])
    assert all(facts(work, 'scan', name) for name in 'abcdef')


def test_what_is_nobody_elses_is_not_put_off(tmp_path: Path) -> None:
    """A build of one task, begun on a machine that has broken down."""
    theirs(tmp_path, 'a')
    run_units(tmp_path, noting(tmp_path / 'log', 'abc'), 'test', 1)
    assert (tmp_path / 'log').read_text().split() == ['a', 'b', 'c']


def test_what_another_task_has_done_meanwhile_is_not_done_again(tmp_path: Path) -> None:
    work, log, other = tmp_path / 'work', tmp_path / 'log', tmp_path / 'other'
    units = noting(log, 'abcdef', 1)

    def do_the_last() -> None:
        while not log.exists():
            time.sleep(0.01)
        for unit in noting(other, 'ef'):
            execute(work, unit)

    thread = threading.Thread(target=do_the_last, daemon=True)
    thread.start()
    run_units(work, units, 'test', 2, shared=True)
    thread.join()
    assert (sorted(log.read_text().split()), other.read_text().split()) == (list('abcd'), ['e', 'f'])


def test_what_another_task_has_done_first_is_ended(tmp_path: Path) -> None:
    """An idle task does what another one is at; when that one is done, nobody waits for the second result."""
    work, log = tmp_path / 'work', tmp_path / 'log'
    theirs(work, 'a')

    def be_faster() -> None:
        time.sleep(2)
        execute(work, *noting(tmp_path / 'other', 'a'))

    thread = threading.Thread(target=be_faster, daemon=True)
    thread.start()
    start = time.monotonic()
    run_units(work, [*noting(log, 'a', 600), *noting(log, 'b')], 'test', 2, shared=True)
    assert time.monotonic() - start < 120
    thread.join()
    assert log.read_text().split() == ['b', 'a']
    assert not list(work.glob(f'scan/.*{socket.gethostname()}*')), 'what was half done is gone'
