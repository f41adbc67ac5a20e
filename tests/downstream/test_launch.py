"""A signal to the command reaches all that it started, and is waited for."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from downstream import launch
from downstream.launch import free_port, run_group
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


def test_a_port_is_free_and_none_that_the_system_hands_out(monkeypatch: pytest.MonkeyPatch) -> None:
    handed_out = int(Path('/proc/sys/net/ipv4/ip_local_port_range').read_text().split()[0])
    first = free_port()
    assert 1024 <= first < handed_out
    with socket.socket() as taken:
        taken.bind(('', first))
        second = free_port()
        monkeypatch.setattr(launch, 'PORTS', [first, second])
        assert free_port() == second
        monkeypatch.setattr(launch, 'PORTS', [first])
        with pytest.raises(OSError, match='is taken'):
            free_port()
