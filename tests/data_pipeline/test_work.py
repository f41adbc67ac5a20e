"""The same bytes for any number of workers, tasks and interruptions; and what a resumed build refuses."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_pipeline.build import build
from data_pipeline.finish import finish
from data_pipeline.job import Job
from data_pipeline.settings import Settings
from shards.errors import UserError
from tests.data_pipeline.conftest import SAMPLE, Builder, tree
from tests.data_pipeline.test_faults import visible_is_whole

Raw = Callable[..., Path]
ROOT = Path(__file__).parents[2]

OPUS = ['WikiMatrix/WikiMatrix.de-en.tsv.gz', 'WikiMatrix/WikiMatrix.en-fr.tsv.gz', 'OPUS-LibreOffice/v1/moses/de-en.txt.zip']
CC100 = ['de.txt.xz', 'th.txt.xz', 'zh-Hans.txt.xz']
SMALL: dict[str, dict[str, Any]] = {
    'cc100': {'chunk_bytes': 10_000, 'holdout': 0.04},
    'opus': {'holdout': 0.04},
    'cc3m': {'holdout': 0.04, 'shard_bytes': 200_000},
}


def command(corpus: str, raw: Path, out: Path, tokenizer: Path, *more: str) -> list[str]:
    flags = [f'--{name.replace("_", "-")}={value}' for name, value in SMALL[corpus].items()]
    return [
        sys.executable,
        '-m',
        'data_pipeline',
        'build',
        corpus,
        '--raw',
        str(raw),
        '--out',
        str(out),
        '--tokenizer',
        str(tokenizer),
        *flags,
        *more,
    ]


@pytest.mark.parametrize(('corpus', 'files'), [('cc100', CC100), ('opus', OPUS), ('cc3m', [])])
@pytest.mark.parametrize('order', [(0, 1, 2), (2, 0, 1)])
def test_tasks_do_not_matter(
    build_corpus: Builder, raw: Raw, tokenizer: Path, tmp_path: Path, corpus: str, files: list[str], order: tuple[int, ...]
) -> None:
    folder = raw(corpus, *files) if files else SAMPLE / 'raw' / corpus
    build_corpus(corpus, tmp_path / 'one', folder, **SMALL[corpus])
    job = Job(corpus, folder, tmp_path / 'three', Settings(**SMALL[corpus]), tokenizer=tokenizer)
    for task in order:
        assert build(job, workers=1, task=task, tasks=3) is None
        assert not list((tmp_path / 'three').glob(f'{corpus}/**/manifest.json'))
        if task != order[-1] and corpus != 'cc3m':  # which has two units only
            with pytest.raises(UserError, match=r'is not complete, unit .* is missing; run `data_pipeline build'):
                finish(tmp_path / 'three')
    finish(tmp_path / 'three')
    assert tree(tmp_path / 'one') == tree(tmp_path / 'three')
    finish(tmp_path / 'three')
    assert tree(tmp_path / 'one') == tree(tmp_path / 'three')


def test_killed_and_resumed_with_two_workers(build_corpus: Builder, raw: Raw, tokenizer: Path, tmp_path: Path) -> None:
    """SIGKILL of a build: no process of it goes on, the next run continues, and all ends in what one undisturbed worker makes."""
    folder, out = raw('cc100', *CC100), tmp_path / 'out'
    build_corpus('cc100', tmp_path / 'unbroken', folder, **SMALL['cc100'])
    arguments = command('cc100', folder, out, tokenizer, '--workers=2')
    process = subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    # The first units come after seconds of imports; all stages of this build together then take about one.
    while not list(out.glob('.build/cc100/*/*/unit.json')):
        time.sleep(0.005)
    time.sleep(0.3)
    process.send_signal(signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 60
    with pytest.raises(ProcessLookupError):  # none of its process group is left
        while time.monotonic() < deadline:
            os.killpg(process.pid, 0)
            time.sleep(0.05)
    run = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.startswith('cc100: ')
    assert len(run.stdout.splitlines()) == 1
    assert tree(out) == tree(tmp_path / 'unbroken')
    assert not list(out.rglob('*.part'))


@pytest.mark.parametrize('delay', [0.5, 0.75, 1.0, 1.5])
def test_killed_early_and_resumed(build_corpus: Builder, raw: Raw, tokenizer: Path, tmp_path: Path, delay: float) -> None:
    """One worker, killed after so many seconds: before, in and after its first stage."""
    folder, out = raw('opus', *OPUS), tmp_path / 'out'
    process = subprocess.Popen(command('opus', folder, out, tokenizer), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    process.wait()
    build_corpus('opus', out, folder, **SMALL['opus'])
    build_corpus('opus', tmp_path / 'unbroken', folder, **SMALL['opus'])
    assert tree(out) == tree(tmp_path / 'unbroken')


@pytest.mark.parametrize('corpus', ['opus', 'cc3m'])
def test_killed_in_finish(build_corpus: Builder, raw: Raw, tokenizer: Path, tmp_path: Path, corpus: str) -> None:
    """SIGKILL before every single rename, removal of a folder, and opening for writing of `finish`: the next one completes it."""
    folder, built = raw('opus', *OPUS) if corpus == 'opus' else SAMPLE / 'raw/cc3m', tmp_path / 'built'
    build_corpus(corpus, tmp_path / 'unbroken', folder, **SMALL[corpus])
    unbroken = tree(tmp_path / 'unbroken')
    for task in (0, 1):
        build(Job(corpus, folder, built, Settings(**SMALL[corpus]), tokenizer=tokenizer), 1, task, 2)
    left = set()
    for number in range(1000):
        out = Path(shutil.copytree(built, tmp_path / 'out'))
        child = os.fork()
        if child == 0:
            try:
                kill_at(number, out)
                finish(out)
                os._exit(0)
            finally:
                os._exit(1)
        ended = os.waitpid(child, 0)[1]
        visible_is_whole(out)
        left.add(frozenset(tree(out)))
        assert ended == 0 or os.WTERMSIG(ended) == signal.SIGKILL, number
        finish(out)
        assert tree(out) == unbroken, number
        assert not list(out.rglob('*.part')), number
        shutil.rmtree(out)
        if ended == 0:
            break
    assert number > 10
    assert len(left) > 5, 'kills between the files of the streams'


def kill_at(number: int, out: Path) -> None:
    """Let this process kill itself before its file operation `number` below `out`."""
    counted = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal counted
        changes = event in ('os.rename', 'shutil.rmtree') or (event == 'open' and arguments[2] & (os.O_WRONLY | os.O_RDWR))
        if changes and str(arguments[0]).startswith(str(out)):
            if counted == number:
                os.kill(os.getpid(), signal.SIGKILL)
            counted += 1

    sys.addaudithook(hook)


def test_a_lost_shard_is_built_again(build_corpus: Builder, raw: Raw, tmp_path: Path) -> None:
    folder, out = raw('opus', *OPUS), tmp_path / 'out'
    build_corpus('opus', out, folder, **SMALL['opus'])
    whole = tree(out)
    shards = sorted(out.glob('opus/train/de-en/*/*.mds'))
    before = {path: path.stat().st_ino for path in out.glob('opus/**/*.mds')}
    shards[0].unlink()
    shards[1].write_bytes(shards[1].read_bytes()[:-1])
    build_corpus('opus', out, folder, **SMALL['opus'])
    assert tree(out) == whole
    untouched = [path for path in before if 'en-fr' in path.parts]
    assert untouched
    assert all(path.stat().st_ino == before[path] for path in untouched)


def test_a_second_run_has_nothing_to_do(build_corpus: Builder, raw: Raw, tmp_path: Path) -> None:
    folder, out = raw('opus', *OPUS), tmp_path / 'out'
    first = build_corpus('opus', out, folder, **SMALL['opus'])
    inodes = {path: path.stat().st_ino for path in out.rglob('*.mds')}
    assert [m.to_json() for m in build_corpus('opus', out, folder, **SMALL['opus'])] == [m.to_json() for m in first]
    assert {path: path.stat().st_ino for path in out.rglob('*.mds')} == inodes


def test_other_settings_or_input_are_refused(build_corpus: Builder, raw: Raw, tokenizer: Path, tmp_path: Path) -> None:
    folder, out = raw('opus', *OPUS), tmp_path / 'out'
    build_corpus('opus', out, folder, holdout=0.04)
    with pytest.raises(UserError, match=r'was begun with --score 1\.04, not 1\.1; use that, or choose another --out, or delete'):
        build_corpus('opus', out, folder, holdout=0.04, score=1.1)
    with pytest.raises(UserError, match=r'was begun with --holdout 0\.04, not 0\.001'):
        build_corpus('opus', out, folder)
    (folder / 'WikiMatrix/WikiMatrix.en-ru.tsv.gz').symlink_to(SAMPLE / 'raw/opus/WikiMatrix/WikiMatrix.en-ru.tsv.gz')
    with pytest.raises(UserError, match=r'was begun with other input: WikiMatrix/WikiMatrix\.en-ru\.tsv\.gz has changed'):
        build_corpus('opus', out, folder, holdout=0.04)
    (folder / 'WikiMatrix/WikiMatrix.en-ru.tsv.gz').unlink()
    other = tmp_path / 'tokenizer'
    shutil.copytree(tokenizer, other)
    description = json.loads((other / 'tokenizer.json').read_text())
    from shards.tokenizer import Tokenizer

    description['appended'] = description['appended'][:-1]
    description['fingerprint'] = Tokenizer((other / 'sentencepiece.bpe.model').read_bytes(), description['appended']).fingerprint
    (other / 'tokenizer.json').write_text(json.dumps(description))
    with pytest.raises(UserError, match=rf'was begun with the tokenizer {Tokenizer.load(tokenizer).fingerprint}, .*tokenizer is'):
        build(Job('opus', folder, out, Settings(holdout=0.04), tokenizer=other), 1, 0, 1)


def test_full_disk_is_one_line(build_corpus: Builder, raw: Raw, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = raw('opus', *OPUS)

    def full(*arguments: object, **options: object) -> None:
        raise OSError(28, 'No space left on device')

    with (
        monkeypatch.context() as patch,
        pytest.raises(UserError, match=r'No space left on device .*; mend that and run the same command again'),
    ):
        patch.setattr('numpy.save', full)
        build_corpus('opus', tmp_path / 'out', folder)
    build_corpus('opus', tmp_path / 'out', folder)


def test_leftovers_of_dead_processes_are_removed(build_corpus: Builder, raw: Raw, tmp_path: Path) -> None:
    folder, stage = raw('opus', *OPUS), tmp_path / 'out/.build/opus/scan'
    dead, zombie = subprocess.Popen(['true']), subprocess.Popen(['true'])
    dead.wait()
    os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
    for process in (dead, zombie):
        (stage / f'.unit.{socket.gethostname()}.{process.pid}.part').mkdir(parents=True)
        (stage.parent / f'.plan.json.{socket.gethostname()}.{process.pid}.part').write_text('half')
    others = [f'{socket.gethostname()}.{os.getpid()}.part', 'elsewhere.1.part']
    for other in others:
        (stage / f'.unit.{other}').mkdir()
        (stage.parent / f'.plan.json.{other}').write_text('half')
    from data_pipeline.work import remove_leftovers

    remove_leftovers(stage.parent)
    assert sorted(path.name for path in stage.iterdir()) == sorted(f'.unit.{other}' for other in others)
    assert sorted(path.name for path in stage.parent.iterdir() if path != stage) == sorted(f'.plan.json.{other}' for other in others)
    zombie.wait()
    assert build_corpus('opus', tmp_path / 'out', folder)
