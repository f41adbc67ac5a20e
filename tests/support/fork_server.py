"""The server behind `run_distributed` and `prewarmed`: forks ranks, and is to them what a launcher is. Workers of pytest are forked here,
too."""

from __future__ import annotations

import atexit
import base64
import gc
import importlib
import io
import json
import os
import pickle
import runpy
import selectors
import signal
import socket
import sys
import tempfile
import time
import traceback
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from pretrain.engine.distributed import import_deepspeed
from tests.support.warm import PASSED_ON, PYTHON

IMPORTED = (
    'deepspeed', 'deepspeed.runtime.zero.stage_1_and_2', 'deepspeed.module_inject.containers', 'deepspeed.moe.layer',
    'transformers.generation.utils',
    'streaming', 'torch.utils.tensorboard', 'pretrain.pretraining', 'pretrain.trainer', 'downstream.cli', 'downstream.finetune_command',
    # What `deepspeed.initialize` imports.
    'deepspeed.comm.mori', 'deepspeed.module_inject.auto_ep_layer', 'deepspeed.ops.op_builder.all_ops', 'deepspeed.ops.triton_ops',
    'deepspeed.runtime.zero.muon.muon_optimizer', 'numpy.ctypeslib', 'setuptools',
)  # fmt: skip
LAST_WORDS = 30.0  # seconds that the other ranks have when one has failed: those of DeepSpeed's launcher


@dataclass
class Job:
    """The ranks that one request asked for."""

    client: socket.socket
    ranks: dict[int, int] = field(default_factory=dict)  # pidfd -> process
    code: int = 0
    deadline: float | None = None

    def send(self, number: int) -> None:
        for process in self.ranks.values():
            with suppress(ProcessLookupError):
                os.kill(process, number)


class Server:
    """Answers requests until the process `session` ends."""

    def __init__(self, place: str, session: int):
        self.selector = selectors.DefaultSelector()
        self.place = Path(place)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(place)
        self.listener.listen()
        self.selector.register(self.listener, selectors.EVENT_READ, None)
        self.session = os.pidfd_open(session)
        self.selector.register(self.session, selectors.EVENT_READ, None)
        self.jobs: list[Job] = []

    def serve(self) -> None:
        while True:
            for key, _ in self.selector.select(1 if any(job.deadline for job in self.jobs) else None):
                if key.fd == self.session:
                    for job in self.jobs:
                        job.send(signal.SIGKILL)
                    return self.place.unlink()
                if key.data is None:
                    self.accept()
                elif key.fd in key.data.ranks:
                    self.ended(key.data, key.fd)
                elif key.data in self.jobs:
                    self.told(key.data)
            for job in self.jobs:
                if job.deadline is not None and time.monotonic() > job.deadline:
                    job.send(signal.SIGKILL)

    def accept(self) -> None:
        client, _ = self.listener.accept()
        size, streams, _, _ = socket.recv_fds(client, 8, 3)
        if not size:  # somebody wanted to know whether this one is there
            return client.close()
        content = client.recv(int.from_bytes(size, 'little'), socket.MSG_WAITALL)
        if len(content) < int.from_bytes(size, 'little'):  # it was killed meanwhile
            return client.close()
        request = json.loads(content)
        job = Job(client)
        self.jobs.append(job)
        for rank in range(max(1, request['world'])):
            process = os.fork()
            if process == 0:
                self.forget()
                os._exit(run_rank(rank, request, streams))
            os.setpgid(process, next(iter(job.ranks.values()), process))  # one group, which a crash takes along
            pidfd = os.pidfd_open(process)
            job.ranks[pidfd] = process
            self.selector.register(pidfd, selectors.EVENT_READ, job)
        for stream in streams:
            os.close(stream)
        self.selector.register(client, selectors.EVENT_READ, job)

    def forget(self) -> None:
        """In a rank: what is the server's."""
        self.selector.close()
        self.listener.close()
        for job in self.jobs:
            job.client.close()
            for pidfd in job.ranks:
                os.close(pidfd)

    def told(self, job: Job) -> None:
        """Signals to pass on; or the client is dead, which nobody survives."""
        for number in job.client.recv(64) or [signal.SIGKILL]:
            job.send(number)
            if number == signal.SIGKILL:
                self.selector.unregister(job.client)

    def ended(self, job: Job, pidfd: int) -> None:
        """A rank has. When it failed, the others, which would wait for it, are told to end, and then killed."""
        _, status = os.waitpid(job.ranks.pop(pidfd), 0)
        self.selector.unregister(pidfd)
        os.close(pidfd)
        code = os.waitstatus_to_exitcode(status)
        if code and not job.code:
            job.code, job.deadline = code % 256, time.monotonic() + LAST_WORDS
            job.send(signal.SIGTERM)
        if not job.ranks:
            self.jobs.remove(job)
            with suppress(KeyError):
                self.selector.unregister(job.client)
            with suppress(BrokenPipeError):
                job.client.sendall(bytes([job.code]))
            job.client.close()


def run_rank(rank: int, request: dict[str, Any], streams: list[int]) -> int:
    """What a rank does; its exit code."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    ignored = request.get('ignored', ())
    for number in PASSED_ON:  # as who asks has them: the server may run under nohup, and the rank not
        if number in ignored:
            signal.signal(number, signal.SIG_IGN)
        elif signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    os.chdir(request['folder'])
    os.environ.clear()
    os.environ.update(request['environment'])
    tempfile.tempdir = None  # that of the server is another one
    sys.executable = os.environ.get(PYTHON, sys.executable)
    if request['world']:
        os.environ.update(WORLD_SIZE=str(request['world']), RANK=str(rank), LOCAL_RANK=str(rank), MASTER_ADDR='127.0.0.1')
    if not is_worker(request):
        os.environ['DS_ACCELERATOR'] = 'cpu'
    try:
        return script(request['script']) if 'script' in request else call(rank, request['call'])
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()


def is_worker(request: dict[str, Any]) -> bool:
    """Whether execnet asks for a Python, as it does for each of pytest's workers: `python -u -c CODE`."""
    return request.get('script', [])[:2] == ['-u', '-c']


def script(words: list[str]) -> int:
    """Run it as `python SCRIPT ARGUMENT …`, `python -m MODULE ARGUMENT …`, both also with -u, or `python -u -c CODE` does."""
    try:
        if words[:2] == ['-u', '-c']:
            sys.argv, main = ['-c'], ModuleType('__main__')  # not the server, which processes of multiprocessing would import
            sys.modules['__main__'] = main
            exec(words[2], vars(main))
            return 0
        sys.argv = words[words[0] == '-u' :]
        if sys.argv[0] == '-m':
            del sys.argv[0]
            runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)
        else:
            runpy.run_path(sys.argv[0], run_name='__main__')
    except SystemExit as ended:
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0


def call(rank: int, pickled: str) -> int:
    """Call a function of the tests, and leave what it returns on rank 0 in a file."""
    function, result, arguments = pickle.loads(base64.b64decode(pickled))  # noqa: S301  (of the tests)
    value = function(*arguments)
    if rank == 0:
        torch.save(value, result)
    if torch.distributed.is_initialized():  # a whole run has left the group itself
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
    return 0


def collect(arguments: list[str]) -> None:
    """Let pytest import all that these arguments of it ask for, as it does before it runs anything. What fails is told by its workers."""
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        pytest.main([*arguments, '--collect-only', '--quiet', '-n0', '-p', 'no:cacheprovider'])


if __name__ == '__main__':
    torch.set_num_threads(1)
    gc.disable()
    import_deepspeed()  # as every rank does it, before it imports more of DeepSpeed
    for name in IMPORTED:
        importlib.import_module(name)
    if sys.argv[3:]:
        collect(sys.argv[3:])
    gc.enable()
    gc.collect()
    gc.freeze()  # a collector that looks at them would copy all of their pages in each rank
    server = Server(sys.argv[1], int(sys.argv[2]))
    sys.stdout.write('ready\n')
    sys.stdout.flush()
    os.dup2(2, 1)
    server.serve()
