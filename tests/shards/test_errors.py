"""What a command says when Ctrl-C ends it, and when."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from shards.errors import continues, run_command
from tests.support.launch import ROOT


def test_only_what_continues_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    def stopped() -> int:
        raise KeyboardInterrupt

    assert run_command(stopped) == 130 and capsys.readouterr().err == 'interrupted\n'
    assert run_command(continues()(stopped)) == 130
    assert capsys.readouterr().err == 'interrupted; run the same command again to continue\n'


@pytest.mark.parametrize(
    'program', [['pretrain/run.py', '--config', 'configs/sample.yaml'], ['-m', 'downstream.quickstart', '--out', 'unused']]
)
def test_one_line_while_modules_are_imported(program: list[str]) -> None:
    started = subprocess.Popen([sys.executable, *program], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        while 'pydantic_core' not in Path(f'/proc/{started.pid}/maps').read_text():  # an early one of a hundred
            assert started.poll() is None
            time.sleep(0.001)
        started.send_signal(signal.SIGINT)
        assert started.communicate(timeout=60)[1] == 'interrupted\n' and started.returncode == 130
    finally:
        started.kill()


def test_who_ignores_the_signal_goes_on_ignoring_it() -> None:
    code = 'import signal; from shards.errors import interruptible_imports as call; call(); print(signal.getsignal(signal.SIGINT).name)'
    ignoring = ['sh', '-c', f'trap "" INT; exec {sys.executable} -c "{code}"']
    assert subprocess.run(ignoring, cwd=ROOT, capture_output=True, text=True, check=True).stdout == 'SIG_IGN\n'
