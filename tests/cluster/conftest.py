"""One Slurm cluster for all tests of this folder, and the jobs on it: they are submitted together, since they mostly wait."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.downstream.conftest import export  # noqa: F401  (a fixture)
from tests.pretrain.conftest import home, pictures  # noqa: F401  (fixtures)
from tests.support.distributed import LAUNCHED, virtual_environment
from tests.support.launch import ROOT, steps, tiny
from tests.support.slurm import Cluster, kill, lacking, require, wait_for
from tests.support.toy_benchmarks import write_xvnli

# What every CPU job says in place of eight ranks with a GPU each: one rank a node.
ONE_A_NODE = ['--ntasks-per-node=1', '--cpus-per-task=1']
SLICE = 0.05


@pytest.fixture(scope='session')
def cluster() -> Iterator[Cluster]:
    require(lacking())
    running = Cluster()
    try:
        running.start()
        yield running
    finally:
        running.stop()


@pytest.fixture(scope='session')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of logs and results of all jobs."""
    return tmp_path_factory.mktemp('cluster')


@pytest.fixture(scope='session')
def warmed(folder: Path) -> dict[str, str]:
    """Environment of jobs whose processes nobody looks at: the fork server runs what takes seconds to import. Slurm's task is one that
    waits for it, passes signals on, and ends with its exit code.
    """
    scripts = ('-m pretrain.health', 'pretrain/run.py', 'downstream', *LAUNCHED)
    return {'VENV': str(virtual_environment(folder / 'warmed', *scripts))}


@pytest.fixture(scope='session')
def checked(folder: Path) -> dict[str, str]:
    """The same of jobs whose ranks are Slurm's own: of the health check alone."""
    return {'VENV': str(virtual_environment(folder / 'checked', '-m pretrain.health'))}


class Venv:
    """VENV of a job: a link, to another environment from one attempt to the next."""

    def __init__(self, link: Path) -> None:
        self.link = link
        self.to({'VENV': sys.prefix})  # as users start it

    def to(self, environment: dict[str, str]) -> None:
        new = self.link.with_name(f'.{self.link.name}')
        new.symlink_to(environment['VENV'])
        new.rename(self.link)


@dataclass(frozen=True)
class Started:
    """A job of pretrain.sh or finetune.sh: its run's folder, and its log."""

    job: str
    out: Path
    log: Path

    def attempt(self, number: int) -> str:
        return self.log.with_name(f'{self.log.stem}.attempt-{number}.log').read_text()


def pretrain(cluster: Cluster, folder: Path, options: list[str], arguments: list[str], **environment: str) -> Started:
    """Submit slurm/pretrain.sh with its run and logs in `folder`."""
    folder.mkdir()
    job = cluster.submit(*options, f'--output={folder}/%x-%j.log', 'slurm/pretrain.sh', *arguments, folder=ROOT, **environment)
    return Started(job, folder / 'run', folder / f'pretrain-{job}.log')


@pytest.fixture(scope='session')
def worn(cluster: Cluster, home: Path, folder: Path, warmed: dict[str, str]) -> Started:  # noqa: F811
    """Just submitted: a job of one node, whose first choice has no room on its local disk."""
    disk = cluster.folder / 'n0/scratch/other'
    disk.rmdir()
    disk.symlink_to('/proc')  # a file system of 0 bytes
    place = folder / 'worn'
    options = ['--nodes=1', '--partition=other', '--gpus-per-node=1', *ONE_A_NODE]
    settings = [*tiny(home, place / 'run'), 'steps=2', 'tasks=[mlm, itm]', 'data.workers=0']
    return pretrain(cluster, place, options, ['--config', 'configs/sample.yaml', *settings], **warmed)


@pytest.fixture(scope='session')
def dry(cluster: Cluster, home: Path, folder: Path, warmed: dict[str, str]) -> Started:  # noqa: F811
    """Just submitted: a dry run on both nodes, which is done while others wait."""
    place = folder / 'dry'
    options = ['--nodes=2', '--partition=high', '--gpus-per-node=1', *ONE_A_NODE]
    settings = [*tiny(home, place / 'run'), 'steps=2', 'tasks=[mlm, itm]', 'data.workers=0', '--dry-run']
    return pretrain(cluster, place, options, ['--config', 'configs/sample.yaml', *settings], HEALTHCHECK='off', **warmed)


TUNED = [
    'steps=200', 'batch.global=8', 'batch.micro=8', 'eval.every=200', 'checkpoint.every=200', 'optimizer.warmup=0', 'precision=fp32',
    'data.workers=0', 'log.tensorboard=false',
]  # fmt: skip


@pytest.fixture(scope='session')
def tuned(cluster: Cluster, export: Path, folder: Path, warmed: dict[str, str]) -> Started:  # noqa: F811
    """Just submitted: a fine-tuning that Slurm tells to stop in its first steps, on the node that stays up, where nothing preempts it."""
    place = folder / 'tuned'
    place.mkdir()
    venv = Venv(place / 'venv')
    write_xvnli(place / 'data', 2)
    folders = ['--model', str(export), '--data', str(place / 'data'), '--out', str(place / 'out')]
    options = [*ONE_A_NODE, '--partition=high', '--nodelist=n0', f'--output={place}/%x-%j.log']
    words = ['xvnli', 'finetune', *folders, '--ranks', '1', *TUNED]
    job = cluster.submit(*options, 'slurm/finetune.sh', *words, folder=ROOT, VENV=str(venv.link))
    started = Started(job, place / 'out', place / f'finetune-{job}.log')

    def stop() -> None:
        wait_for(lambda: steps(started.out) >= 5, 'the fine-tuning does not train', cluster.logs)
        venv.to(warmed)  # nobody looks at the processes of the second attempt
        cluster.run('scancel', '--signal=USR1', job)

    threading.Thread(target=stop, daemon=True).start()
    return started


@dataclass(frozen=True)
class Array:
    """An array build: its job, its folder, and that of its logs."""

    job: str
    out: Path
    raw: Path
    logs: Path

    def log(self, element: int) -> Path:
        return self.logs / f'build_shards-{self.job}_{element}.log'


@pytest.fixture(scope='session')
def array(cluster: Cluster, home: Path, folder: Path, worn: Started) -> Array:  # noqa: F811
    """OPUS by four elements, of which two are killed and one requeued while they build. The last has the id of the array."""
    out, raw, logs = folder / 'array/shards', ROOT / 'sample/raw/opus', folder / 'array'
    logs.mkdir()
    job = cluster.submit(
        '--array=0-3', '--partition=other', '--cpus-per-task=1', '--time=3:00:00', f'--output={logs}/%x-%A_%a.log',
        'slurm/build_shards.sh', 'opus', '--raw', str(raw), '--out', str(out), '--tokenizer', str(home / 'tokenizer'), folder=ROOT,
    )  # fmt: skip
    built = Array(job, out, raw, logs)
    stopped = stop_in_build(cluster, built, (1, 2, 3))
    for pid in stopped[1] + stopped[3]:
        kill(pid)
    cluster.run('scontrol', 'requeue', f'{job}_2')
    return built


def stop_in_build(cluster: Cluster, array: Array, elements: tuple[int, ...]) -> dict[int, list[int]]:
    """Processes of each element, stopped while it builds. Once they are seen they run for moments only, of SLICE seconds, and stand still
    while nobody looks: on a busy machine an element might be done before anyone looks again.
    """
    stopped = dict[int, list[int]]()

    def tasks_of(element: int) -> list[int]:
        return cluster.pids(f'SLURM_ARRAY_JOB_ID={array.job}', f'SLURM_ARRAY_TASK_ID={element}', 'SLURM_STEP_ID=0')

    def send(number: int, tasks: list[int]) -> None:
        for pid in tasks:
            with suppress(ProcessLookupError):  # one may end at any time
                os.kill(pid, number)

    def all_build() -> bool:
        for element in elements:
            if element not in stopped:
                attempt = array.log(element).with_suffix('.attempt-1.log')
                send(signal.SIGCONT, tasks_of(element))
                time.sleep(SLICE)
                tasks = tasks_of(element)
                send(signal.SIGSTOP, tasks)
                if tasks and attempt.exists() and 'opus build' in attempt.read_text():
                    stopped[element] = tasks
        return len(stopped) == len(elements)

    wait_for(all_build, f'elements {elements} do not all build', cluster.logs)
    return stopped


@pytest.fixture(scope='session')
def stuck(cluster: Cluster, home: Path, folder: Path) -> Path:  # noqa: F811
    """The log of a build of one language whose process hangs until its limit of a minute: the signal ahead of that means nothing to it."""
    logs, raw = folder / 'stuck', folder / 'stuck' / 'raw'
    raw.mkdir(parents=True)
    (raw / 'en.txt.xz').symlink_to(ROOT / 'sample/raw/cc100/en.txt.xz')
    options = ['--array=0', '--partition=other', '--nodelist=n0', '--cpus-per-task=1', '--time=1', '--signal=28@5']  # SIGWINCH
    arguments = ['cc100', '--raw', str(raw), '--out', str(logs / 'shards'), '--tokenizer', str(home / 'tokenizer')]
    job = cluster.submit(*options, f'--output={logs}/%x-%A_%a.log', 'slurm/build_shards.sh', *arguments, folder=ROOT)
    threading.Thread(target=hang, args=task_of(cluster, job, 0), daemon=True).start()
    return logs / f'build_shards-{job}_0.log'


def hang(*pids: int) -> None:
    """Keep processes from going on until they are killed: Slurm sends SIGCONT with every signal."""
    left = set(pids)
    while left:
        for pid in sorted(left):
            try:
                os.kill(pid, signal.SIGSTOP)
            except ProcessLookupError:  # one of them may end by itself, as a shell does; the others are still to be held
                left.remove(pid)
        time.sleep(0.05)


def task_of(cluster: Cluster, array_job: str, element: int) -> list[int]:
    """Processes that srun has started for an element of an array, once they are there."""
    found: list[int] = []

    def started() -> bool:
        found[:] = cluster.pids(f'SLURM_ARRAY_JOB_ID={array_job}', f'SLURM_ARRAY_TASK_ID={element}', 'SLURM_STEP_ID=0')
        return bool(found)

    wait_for(started, 'the element does not start', cluster.logs)
    return found
