"""Starts the real training command, as a user types it, and reads what it leaves."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from pretrain.engine.launcher import command_line, parent_of
from pretrain.records import METRICS, read_lines
from tests.support import warm
from tests.support.distributed import LAUNCHED, fork_server, free_port, virtual_environment

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
TINY = [
    'model.visual={image_size: 32, options: {embed_dim: 24, depth: 1, num_heads: 2, patch_size: 16}}',
    'model.dim=32', 'model.heads=2', 'model.ffn=64', 'model.text_layers=1', 'model.cross_layers=1', 'model.decoder_layers=1',
    'model.dropout=0.1', 'batch={global: 8, micro: 4, tasks: {}}', 'optimizer={lr: 3e-3, lr_min: 3e-3, warmup: 4}',
    'data.block=64', 'data.shuffle_shards=2', 'data.caption_tokens=24', 'data.text_tokens=24',
    'eval.samples=4', 'eval.retrieval.data=null', 'eval.every=1000', 'checkpoint.every=1000', 'log.every=5', 'log.tensorboard=false',
    'log.peak_tflops=0.05',  # else every rank measures it
]  # fmt: skip
SECONDS = 900  # for a start on a busy machine


def deepspeed(ranks: int) -> list[str]:
    """The launcher, on a port that no other run of this machine has."""
    return [str(BIN / 'deepspeed'), '--num_accelerators', str(ranks), '--master_port', free_port()]


def launched(ranks: int, folder: Path) -> list[str]:
    """The same launcher in processes that have imported everything, and so its ranks, by programs in `folder`. All of them are children of
    the fork server, so no rank sees its launcher: for tests of what the launcher does.
    """
    return [str(virtual_environment(folder, *LAUNCHED) / 'bin/deepspeed'), *deepspeed(ranks)[1:]]


def torchrun(ranks: int) -> list[str]:
    return [str(BIN / 'torchrun'), '--nproc_per_node', str(ranks), '--master_port', free_port()]


def prewarmed(ranks: int, **variables: str) -> list[str]:
    """A launcher, as `deepspeed` and `torchrun` are, of so many processes that have imported everything, on the CPU: for tests of what they
    do. It passes signals on to them; when it is killed, so are they. `variables`: of their environment, before they import anything.
    """
    return [sys.executable, '-I', warm.__file__, fork_server(**variables), str(ranks), free_port()]


def command(launcher: list[str], home: Path, out: Path, *settings: str, script: Path = ROOT / 'pretrain/run.py') -> list[str]:
    """The whole command for a tiny model on the shards and tokenizer of `home`."""
    files = ['--deepspeed', str(ROOT / 'ds_configs/zero2.json'), '--config', str(ROOT / 'configs/sample.yaml')]
    return [*launcher, str(script), *files, *tiny(home, out), *settings]


def tiny(home: Path, out: Path) -> list[str]:
    """Settings of a tiny model on the shards and tokenizer of `home`."""
    return [*TINY, f'data.shards={home / "shards"}', f'data.tokenizer={home / "tokenizer"}', f'out={out}']


def forked(ranks: int, home: Path, out: Path, *settings: str, script: Path = ROOT / 'pretrain/run.py') -> None:
    """`command` to its end, in ranks that have imported everything, for which a launcher and its ranks take twenty seconds of a processor.
    For runs that another one is compared with, or goes on from.
    """
    out.parent.mkdir(exist_ok=True)
    succeed(command(prewarmed(ranks), home, out, *settings, script=script), out.parent)


def environment() -> dict[str, str]:
    """This one's, without what would tell a process that it belongs to a job."""
    job = ('RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT', 'DS_ACCELERATOR')
    return {**{key: value for key, value in os.environ.items() if key not in job}, 'OMP_NUM_THREADS': '1'}


def run(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run to its end in `folder`."""
    return subprocess.run(arguments, cwd=folder, env=environment(), capture_output=True, text=True, check=False, timeout=SECONDS)


def succeed(arguments: list[str], folder: Path) -> str:
    """Run; returns what it printed on stderr. Fails with all of that when the exit code is not 0."""
    done = run(arguments, folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stderr


class Started:
    """A command in the background, a process group of its own, printing to `folder`/run.log."""

    def __init__(self, arguments: list[str], folder: Path, **variables: str):
        self.log = folder / 'run.log'
        environ = {**environment(), **variables}
        with self.log.open('w') as file:
            pipes: dict[str, Any] = {'stdout': file, 'stderr': subprocess.STDOUT}
            self.process = subprocess.Popen(arguments, cwd=folder, env=environ, start_new_session=True, **pipes)

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait until the condition holds; fails when the command ends before, or nothing happens for long."""
        deadline = time.monotonic() + SECONDS
        while not condition():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise AssertionError(self.log.read_text())
            time.sleep(0.002)

    def ranks(self) -> list[int]:
        """Process ids of the training processes that DeepSpeed's launcher has started, by rank."""
        found = {}
        for path in Path('/proc').glob('[0-9]*'):
            with suppress(OSError):  # it has ended
                rank = re.search(r' --local_rank=(\d+) ', command_line(int(path.name)))
                if rank and (path / 'cwd').readlink() == self.log.parent and 'multiprocessing' not in command_line(int(path.name)):
                    found[int(rank[1])] = int(path.name)
        return [found[rank] for rank in sorted(found)]

    def group(self) -> int:
        """Process group of the ranks that the fork server has started here for `alone` or `prewarmed`, and of all that they have started:
        the process id of rank 0.
        """
        for path in Path('/proc').glob('[0-9]*'):
            with suppress(OSError):  # it has ended
                process, here = int(path.name), (path / 'cwd').readlink() == self.log.parent
                if here and os.getpgid(process) == process != self.process.pid:
                    return process
        raise AssertionError(self.log.read_text())

    def loaders(self) -> list[int]:
        """Process ids of the loader processes, of all ranks: children of their fork servers."""
        return loaders_below(self.process.pid)

    def end(self) -> int:
        """Wait until no process of the group is left; the launcher's exit code."""
        code = self.process.wait(SECONDS)
        wait_for_group(self.process.pid)
        return code

    def interrupt(self) -> int:
        """Ctrl-C, which a terminal sends to the launcher and to everything below it; the launcher's exit code."""
        os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(SECONDS)

    def kill(self) -> None:
        """SIGKILL to every process: what a power cut looks like to the files. Those of torchrun are process groups of their own."""
        below = descendants(self.process.pid)
        with suppress(ProcessLookupError):  # none is left
            os.killpg(self.process.pid, signal.SIGKILL)
        for process in below:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self.process.wait(SECONDS)


def loaders_below(process: int) -> list[int]:
    """Loader processes of a rank, or of all ranks below a launcher: children of their fork servers."""
    servers = {below for below in descendants(process) if 'multiprocessing.forkserver' in command_line(below)}
    return [below for below in servers if parent_of(below) in servers]


def wait_for_group(group: int) -> None:
    """Wait until no process of it is left."""
    deadline = time.monotonic() + SECONDS
    with suppress(ProcessLookupError):
        while time.monotonic() < deadline:
            os.killpg(group, 0)
            time.sleep(0.02)


def descendants(process: int) -> list[int]:
    """Children of a process, theirs, and so on."""
    parents = {int(path.name): parent_of(int(path.name)) for path in Path('/proc').iterdir() if path.name.isdigit()}
    found = [process]
    for other in found:
        found += [child for child, parent in parents.items() if parent == other]
    return found[1:]


def steps(out: Path) -> int:
    """Steps that metrics.jsonl has; 0 before there is one."""
    lines = read_lines(out / METRICS) if (out / METRICS).exists() else []
    return lines[-1]['step'] if lines else 0


def reproducible(line: dict[str, Any]) -> dict[str, Any]:
    """A line of metrics.jsonl without its times."""
    times = ('samples_per_s', 'task_samples_per_s', 'data_wait', 'time', 'seconds', 'utilisation')
    return {key: value for key, value in line.items() if key not in times}
