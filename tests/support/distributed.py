"""Run a function, or a script as it is typed, in several gloo processes, as a launcher would.

The processes are forked from a server that has imported everything once: importing takes each of them five seconds otherwise. It ends when
the tests do.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import itertools
import os
import pickle
import random
import shlex
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from tests.support import warm

ROOT = Path(__file__).parents[2]
READY = b'ready\n'
# What `downstream BENCHMARK finetune` starts, and what DeepSpeed's launcher is and starts: for `virtual_environment`.
LAUNCHED = ('deepspeed', '-u -m deepspeed.launcher.launch', f'-u {ROOT}/downstream/run.py', f'-u {ROOT}/pretrain/run.py')
UNTRACKED = str(ROOT / 'tests/support/untracked')  # PYTHONPATH of what tests start
SESSION = 'TESTS_SESSION'  # variable: the process that is there until all tests are
WORKERS = 16  # more of pytest than anybody starts
# Above those of slurm/pretrain.sh, below those that the system hands out to whoever connects somewhere: a launched rank takes its port
# half a minute after it was found free.
PORTS = range(17_000, 32_000, WORKERS)
_servers: list[subprocess.Popen[bytes]] = []
_ports = itertools.cycle(random.SystemRandom().sample(PORTS, len(PORTS)))


def free_port() -> str:
    """A port that nothing listens on, and that no other test is given."""
    worker = int(os.environ.get('PYTEST_XDIST_WORKER', 'gw0').removeprefix('gw')) % WORKERS
    for port in _ports:
        with socket.socket() as probe, suppress(OSError):
            probe.bind(('127.0.0.1', port + worker))
            return str(port + worker)
    raise AssertionError('they never end')


def run_distributed(function: Callable[..., Any], world: int, folder: Path, *arguments: Any) -> Any:
    """`function(*arguments)` in `world` processes with torch.distributed's environment set; rank 0's tensors come back in a file."""
    import torch  # not for the process that only shares tests out

    result = folder / 'result.pt'
    result.unlink(missing_ok=True)
    call = base64.b64encode(pickle.dumps((function, result, arguments))).decode()
    environment = {**os.environ, 'MASTER_PORT': free_port()}
    with warm.ask(fork_server(), {'world': world, 'environment': environment, 'folder': str(ROOT), 'call': call}) as server:
        code = warm.answer(server)
    assert code == 0, f'{function.__name__}: exit code {code}; the trace is above'
    return torch.load(result, weights_only=True)


def alone(**variables: str) -> list[str]:
    """In place of `python`, for a script: one process that has imported everything, with the environment of who starts it. `variables`: of
    its environment, before it imports anything.
    """
    return [sys.executable, '-I', warm.__file__, fork_server(**variables), '0', '-']


def python(folder: Path) -> str:
    """A program in `folder` to be called as `python`: `alone`."""
    program = folder / 'python'
    _program(program, f'exec {shlex.join(alone())} "$@"')
    return str(program)


def virtual_environment(folder: Path, *scripts: str) -> Path:
    """The commands of this one, in `folder`/bin. Those among `scripts` (`downstream`), and those of `python` (`pretrain/run.py`, `-m
    pretrain.health`), run in a process of the fork server, as `alone`; so do those that they start by this `python`.
    """
    own, bin_ = Path(sys.executable).parent, folder / 'bin'
    bin_.mkdir(parents=True)
    forked = f'{warm.PYTHON}={bin_}/python exec {shlex.join(alone())}'
    for name in ('data_pipeline', 'pretrain', 'downstream', 'deepspeed'):
        if name in scripts:
            _program(bin_ / name, f'{forked} {own / name} "$@"')
        else:
            (bin_ / name).symlink_to(own / name)
    asked = ' | '.join(f'{shlex.quote(f"{script} ")}*' for script in scripts)
    _program(bin_ / 'python', f'case "$* " in {asked}) {forked} "$@" ;; esac\nexec {own / "python"} "$@"')
    return folder


def _program(file: Path, lines: str) -> None:
    file.write_text(f'#!/bin/sh\n{lines}\n')
    file.chmod(0o755)


@cache
def fork_server(*collected: str, **variables: str) -> str:
    """The socket of the server with these variables in its environment. The first of the tests' processes that asks starts it, for all.
    `collected`: arguments of pytest, whose tests it then imports, too.
    """
    session = int(os.environ.get(SESSION, os.getpid()))
    folder = Path(tempfile.gettempdir()) / f'ranks-{session}'
    folder.mkdir(exist_ok=True)
    place = folder / hashlib.sha256(repr(sorted(variables.items())).encode()).hexdigest()[:16]
    with (folder / 'lock').open('w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not answers(place):
            place.unlink(missing_ok=True)  # of a process that was killed, in a session whose number came again
            environment = {**os.environ, 'DS_ACCELERATOR': 'cpu', 'OMP_NUM_THREADS': '1', **variables}
            command = [sys.executable, '-m', 'tests.support.fork_server', str(place), str(session), *collected]
            pipes: dict[str, Any] = {'stdin': subprocess.DEVNULL, 'stdout': subprocess.PIPE}
            # A session of its own: Ctrl-C is passed on to what it has forked, and is not meant for the server.
            process = subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True, **pipes)
            _servers.append(process)
            assert process.stdout and process.stdout.readline() == READY
            process.stdout.close()
    return str(place)


def answers(place: Path) -> bool:
    """Whether a server is behind this socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(place)) == 0
