"""`data_pipeline finish`: of which corpora, and twice at once."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data_pipeline.build import build
from data_pipeline.cli import main
from data_pipeline.job import Job
from data_pipeline.settings import Settings
from tests.data_pipeline.conftest import SAMPLE, Builder, tree

ROOT = Path(__file__).parents[2]

# A rename of shards takes its time.
SLOW = """
import sys, time

def slowed(event, arguments):
    if event == 'os.rename' and '/shards/' in str(arguments[0]):
        time.sleep(2)

sys.addaudithook(slowed)
"""


def begin(corpus: str, out: Path, *tasks: int, scratch: Path | None = None) -> None:
    """Some of two tasks of an array."""
    for task in tasks:
        job = Job(corpus, SAMPLE / 'raw' / corpus, out, Settings(holdout=0.04), scratch=scratch)
        assert build(job, workers=1, task=task, tasks=2) is None


def test_one_corpus_beside_an_incomplete_one(build_corpus: Builder, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, scratch = tmp_path / 'out', tmp_path / 'scratch'
    begin('cc3m', out, 0, 1, scratch=scratch)
    begin('cc12m', out, 0, scratch=scratch)
    build_corpus('cc3m', tmp_path / 'one', holdout=0.04)
    finish = ['finish', '--out', str(out), '--scratch', str(scratch)]
    assert main([*finish, '--corpus', 'cc3m']) == 0
    assert capsys.readouterr().out.startswith('cc3m: ')
    assert tree(out) == tree(tmp_path / 'one')
    for corpora in ([], ['--corpus', 'cc3m', '--corpus', 'cc12m']):
        assert main([*finish, *corpora]) == 2
        assert 'cc12m is not complete, unit' in capsys.readouterr().err
    assert main([*finish, '--corpus', 'wit']) == 2
    assert 'holds no build of wit to finish; run' in capsys.readouterr().err


@pytest.mark.parametrize('killed', [False, True])
def test_two_merges_at_once(build_corpus: Builder, tmp_path: Path, killed: bool) -> None:
    """The second says who is at it and waits, be it that the first completes or dies."""
    out = tmp_path / 'out'
    begin('cc3m', out, 0, 1)
    (tmp_path / 'site').mkdir()
    (tmp_path / 'site/sitecustomize.py').write_text(SLOW)
    command = [sys.executable, '-m', 'data_pipeline', 'finish', '--out', str(out)]

    def start() -> subprocess.Popen[str]:
        environment = {**os.environ, 'PYTHONPATH': str(tmp_path / 'site')}
        return subprocess.Popen(command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    first = start()
    folder = out / 'cc3m/train'  # which is made just before the first rename
    while not folder.is_dir():
        assert first.poll() is None
        time.sleep(0.01)
    second = start()
    if killed:
        assert second.stderr is not None
        told = second.stderr.readline()
        first.send_signal(signal.SIGKILL)
        first.communicate()
    else:
        said, problem = first.communicate()
        assert (first.returncode, problem) == (0, '') and said.startswith('cc3m: ')
        told = ''
    said, rest = second.communicate()
    assert second.returncode == 0 and said.startswith('cc3m: '), rest
    assert re.fullmatch(rf'waiting for another merge of cc3m \(process {first.pid} on .+\) to end\n', told + rest)
    build_corpus('cc3m', tmp_path / 'one', holdout=0.04)
    assert tree(out) == tree(tmp_path / 'one')
