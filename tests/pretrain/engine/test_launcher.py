"""The launcher above a process, seen from the process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from pretrain.engine.launcher import Launcher, command_line, parent_of
from tests.support.launch import ROOT

# A stand-in with the name of a launcher's module, which starts a rank and leaves it behind.
LAUNCH = """
import subprocess, sys
subprocess.Popen([sys.executable, '-c', sys.argv[1]], stdin=subprocess.PIPE)
sys.stdin.readline()
"""
RANK = """
import sys, time
from pretrain.engine.launcher import Launcher
launcher = Launcher()
print(launcher.gone(), flush=True)
while not launcher.gone():
    time.sleep(0.05)
print('gone', flush=True)
"""


def test_a_launcher_that_is_killed_is_noticed(tmp_path: Path) -> None:
    folder = tmp_path / 'torchrun'
    folder.write_text(LAUNCH)
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    command = [sys.executable, str(folder), RANK]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as launcher:
        assert launcher.stdout
        assert launcher.stdout.readline() == 'False\n'
        launcher.kill()
        assert launcher.stdout.readline() == 'gone\n'


def test_a_process_started_by_hand_has_none() -> None:
    assert not Launcher().gone()


def test_processes() -> None:
    assert parent_of(os.getpid()) == os.getppid()
    assert command_line(os.getpid()).startswith(sys.executable)
    assert parent_of(2**22 + 1) == 0 and command_line(2**22 + 1) == ''
