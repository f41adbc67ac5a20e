"""A tracker whose package is not here, in a process that cannot see what is installed."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.launch import ROOT

SCRIPT = """
import sys
from pretrain.boards.opened import check_boards
from pretrain.config import load_config
from shards.errors import run_command
configs = [load_config(None, [setting]) for setting in sys.argv[1:]]
sys.path[:] = ['.']
sys.exit(run_command(lambda: [check_boards(config) for config in configs] and 0))
"""


@pytest.mark.parametrize('name', ['wandb', 'mlflow'])
def test_a_package_that_is_not_here(name: str) -> None:
    done = subprocess.run([sys.executable, '-c', SCRIPT, f'log.{name}=x'], cwd=ROOT, capture_output=True, text=True, check=False)
    why = f'log.{name} is set, and the package {name} is not here'
    remedy = f"pip install -e '.[track]' in the folder of this repository brings it, log.{name}=null goes without"
    assert (done.returncode, done.stderr) == (2, f'error: {why}; {remedy}\n')


def test_what_is_not_asked_for_need_not_be_here() -> None:
    done = subprocess.run([sys.executable, '-c', SCRIPT, 'log.wandb=null'], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, '')
