"""A signal to the command reaches all that it started, and is waited for."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from downstream.launch import run_group
from tests.support.launch import ROOT

# As a launcher does: it ends at once, what it started ends a little later.
LAUNCHER = "(trap 'sleep 0.5; echo $NAME > ended; exit 0' TERM USR1 INT; echo > started; while :; do sleep 0.05; done) & wait"


def test_exit_code_and_variables(tmp_path: Path) -> None:
    out = tmp_path / 'out'
    with out.open('wb') as file:
        assert run_group(['bash', '-c', 'echo $NAME; exit 3'], {'NAME': 'a name'}, file) == 3
    assert out.read_text() == 'a name\n'


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_stopped(tmp_path: Path, number: signal.Signals) -> None:
    program = f'import sys\nfrom downstream.launch import run_group\nsys.exit(run_group(["bash", "-c", {LAUNCHER!r}], {{"NAME": "x"}}))'
    process = subprocess.Popen([sys.executable, '-c', program], cwd=tmp_path, env={'PYTHONPATH': str(ROOT), 'PATH': '/usr/bin:/bin'})
    deadline = time.monotonic() + 60
    while not (tmp_path / 'started').exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    assert process.wait(60) == 128 + number
    assert (tmp_path / 'ended').read_text() == 'x\n'
