"""Run a function in several gloo processes, as a launcher would, and collect what rank 0 returns.

The processes are forked from a server that has imported everything once: importing takes each of them seconds otherwise. It ends when its
stdin does, and that is when the tests do.
"""
from __future__ import annotations

import importlib
import os
import pickle
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import IO, Any

import torch

ROOT = Path(__file__).parents[2]
IMPORTED = ('deepspeed', 'pretrain.trainer', 'deepspeed.runtime.zero.stage_1_and_2')


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return str(probe.getsockname()[1])


def run_distributed(function: Callable[..., Any], world: int, folder: Path, *arguments: Any) -> Any:
    """`function(*arguments)` in `world` processes with torch.distributed's environment set; rank 0's tensors come back in a file."""
    result = folder / 'result.pt'
    result.unlink(missing_ok=True)
    server = _server()
    assert server.stdin and server.stdout
    ranks = {'WORLD_SIZE': str(world), 'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': free_port(), 'DS_ACCELERATOR': 'cpu'}
    pickle.dump((world, {**os.environ, **ranks}, pickle.dumps((function, result, arguments))), server.stdin)
    server.stdin.flush()
    codes = pickle.load(server.stdout)  # noqa: S301  (of our own process)
    assert codes == [0] * world, f'{function.__name__}: exit codes of the ranks {codes}; their traces are above'
    return torch.load(result, weights_only=True)


@cache
def _server() -> subprocess.Popen[bytes]:
    environment = {**os.environ, 'DS_ACCELERATOR': 'cpu', 'OMP_NUM_THREADS': '1'}
    command = [sys.executable, '-m', 'tests.support.distributed']
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def serve(requests: IO[bytes], answers: IO[bytes]) -> None:
    """Answer every request (number of ranks, environment, pickled call) with the exit codes of the ranks."""
    torch.set_num_threads(1)
    for name in IMPORTED:
        importlib.import_module(name)
    while True:
        try:
            world, environment, call = pickle.load(requests)  # noqa: S301  (of the tests)
        except EOFError:
            return
        pickle.dump(_run(world, environment, call), answers)
        answers.flush()


def _run(world: int, environment: dict[str, str], call: bytes) -> list[int]:
    """Fork the ranks; when one fails, the others, which would wait for it, are killed."""
    ranks: dict[int, int] = {}
    codes = [0] * world
    for rank in range(world):
        child = os.fork()
        if child == 0:
            os.environ.clear()
            os.environ.update(environment, RANK=str(rank), LOCAL_RANK=str(rank))
            os._exit(_rank(rank, call))
        ranks[child] = rank
    while ranks:
        child, status = os.waitpid(-1, 0)
        codes[ranks.pop(child)] = code = os.waitstatus_to_exitcode(status)
        for other in ranks if code else ():
            os.kill(other, signal.SIGKILL)
    return codes


def _rank(rank: int, call: bytes) -> int:
    """What a rank does; its exit code."""
    try:
        function, result, arguments = pickle.loads(call)  # noqa: S301
        value = function(*arguments)
        if rank == 0:
            torch.save(value, result)
        if torch.distributed.is_initialized():  # a whole run has left the group itself
            torch.distributed.barrier()
            torch.distributed.destroy_process_group()
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


if __name__ == '__main__':
    with os.fdopen(os.dup(1), 'wb') as answers:
        os.dup2(2, 1)  # what the ranks print is no answer
        serve(sys.stdin.buffer, answers)
