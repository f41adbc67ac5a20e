"""`… | head`: what is printed has no reader any more. (`data_pipeline` is in tests/data_pipeline/test_cli.py.)"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.downstream.pages import results
from tests.support.launch import BIN, ROOT
from tests.support.unread import unread

RUN = 'import sys; from shards.errors import UserError, run_command\ndef main():\n    {}\nsys.exit(run_command(main))'
LONG = "print('x' * 100_000)"  # more than is kept until the end


def program(*lines: str) -> list[str]:
    return [sys.executable, '-c', RUN.format('\n    '.join(lines))]


@pytest.mark.parametrize('words', ["print('x')", LONG, "print('x', flush=True)"])
@pytest.mark.parametrize('both', [False, True])
def test_what_it_does_and_its_code_are_the_same(words: str, both: bool, tmp_path: Path) -> None:
    done = tmp_path / 'done'
    after = [words, "print('x', file=sys.stderr)"] if both else []
    code, said = unread(program(words, *after, f"open({str(done)!r}, 'w').close()", words, 'return 3'), both=both)
    assert (code, said) == (3, '') and done.exists()


def test_what_it_starts_is_not_heard_either() -> None:
    starts = "import subprocess; subprocess.run([sys.executable, '-c', 'print(1)'], check=True)"
    assert unread(program("print('x', flush=True)", starts, 'return 0')) == (0, '')


def test_mistakes_and_help_are_as_ever() -> None:
    assert unread(program(LONG, "raise UserError('no such file')")) == (2, 'error: no such file\n')
    assert unread(program(LONG, 'raise SystemExit(0)')) == (0, '')  # as argparse ends --help


def test_any_other_pipe_that_breaks_is_a_defect() -> None:
    code, said = unread(program(LONG, 'import os; ours, theirs = os.pipe(); os.close(ours); os.write(theirs, b"x")'))
    assert code == 1 and said.endswith('BrokenPipeError: [Errno 32] Broken pipe\n')


@pytest.mark.parametrize('words', ["print('x')", LONG])
def test_a_full_disk_is_none_of_this(words: str) -> None:
    with Path('/dev/full').open('w') as full:
        done = subprocess.run(program(words), cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=60)
    assert done.returncode in (1, 120) and 'No space left on device' in done.stderr


def test_the_streams_are_put_back(capsys: pytest.CaptureFixture[str]) -> None:
    from shards.errors import run_command

    before = sys.stdout, sys.stderr
    assert run_command(lambda: print('heard')) == 0
    assert (sys.stdout, sys.stderr) == before and capsys.readouterr().out == 'heard\n'


def test_the_settings_of_a_run() -> None:
    assert unread([sys.executable, str(ROOT / 'pretrain/run.py'), '--print-config']) == (0, '')
    assert unread([sys.executable, str(ROOT / 'pretrain/run.py'), '--help']) == (0, '')


def test_the_page_of_a_run(tmp_path: Path) -> None:
    (tmp_path / 'metrics.jsonl').write_text('{"step": 1}\n')
    (tmp_path / 'events.jsonl').write_text(json.dumps({'event': 'start', 'step': 0, 'time': 0.0, 'world': 1}) + '\n')
    assert unread([str(BIN / 'pretrain'), 'report', str(tmp_path)]) == (0, '')
    assert (tmp_path / 'report.html').is_file()


def test_the_page_of_results(tmp_path: Path) -> None:
    results.tatoeba(tmp_path / 'm')
    assert unread([str(BIN / 'downstream'), 'report', str(tmp_path / 'm'), '--out', str(tmp_path / 'page')]) == (0, '')
    assert (tmp_path / 'page/report.html').is_file()
