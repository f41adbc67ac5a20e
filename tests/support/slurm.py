"""A real Slurm cluster on this machine: munged, slurmctld, and a slurmd for each of two nodes with eight GPUs, all of them Debian's.

The GPUs are device nodes of /dev/null's number, which is all that Slurm looks at. Everything lives in one folder below /tmp and on free
ports, beside whatever Slurm this machine may belong to. The daemons die with the process that started them; what an aborted run has left is
ended before the next start.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.distributed import free_port

COMMANDS = ('munged', 'slurmctld', 'slurmd', 'sbatch', 'srun', 'scontrol', 'squeue')
NODES = ('n0', 'n1')
GPUS = 8
PARTITIONS = ('low', 'high', 'other')  # jobs of `high` preempt those of `low`; those of `other` are left alone
PREFIX = 'ernie-slurm-'
OWNER = 'owner'  # file with the process id of who started the cluster
PATIENCE = 300.0  # seconds for anything to happen, on a busy machine
PR_SET_PDEATHSIG = 1  # linux/prctl.h


def lacking() -> str | None:
    """Why no cluster can be started here; None when one can."""
    missing = [name for name in COMMANDS if shutil.which(name, path=search_path()) is None]
    if missing:
        return f'no {", ".join(missing)} here (Debian: apt-get install slurmctld slurmd slurm-client munge)'
    return None if os.geteuid() == 0 else 'slurmd starts jobs as root only'


def require(problem: str | None) -> None:
    """Skip what needs a cluster, or fail where Slurm must be there (.ci/run sets REQUIRE_SLURM)."""
    if problem is None:
        return
    text = f'the Slurm scripts were NOT run on a cluster (preemption, time limit, dead node, array build, health check): {problem}'
    if os.environ.get('REQUIRE_SLURM'):
        pytest.fail(text, pytrace=False)
    pytest.skip(text)


def search_path() -> str:
    return f'{os.environ.get("PATH", "")}:/usr/sbin:/sbin'


class Cluster:
    """Running daemons, and the commands of a user on this cluster."""

    def __init__(self) -> None:
        end_leftovers()
        self.folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir='/tmp'))  # a short path: a socket's has at most 107 characters
        (self.folder / OWNER).write_text(str(os.getpid()))
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(('SLURM', 'SBATCH', 'MASTER_'))},
            'SLURM_CONF': str(self.folder / 'slurm.conf'),
            'PATH': search_path(),
        }
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        self._write_configuration()

    def start(self) -> None:
        """Start every daemon; returns when both nodes are idle."""
        folder = self.folder
        socket_ = folder / 'munge.socket'
        files = {'--key-file': 'munge.key', '--pid-file': 'munged.pid', '--log-file': 'munged.log', '--seed-file': 'munged.seed'}
        paths = [f'{flag}={folder / name}' for flag, name in files.items()]
        self._daemon('munged', ['munged', '--foreground', f'--socket={socket_}', *paths])
        wait_for(socket_.exists, 'munged has made no socket', self.logs)
        self._daemon('slurmctld', ['slurmctld', '-D', '-f', self.environment['SLURM_CONF']])
        for node in NODES:
            self.start_node(node)
        wait_for(lambda: all(self.node_state(node) == 'IDLE' for node in NODES), 'the nodes are not idle', self.logs)

    def start_node(self, node: str) -> None:
        """Switch a node on."""
        self._daemon(node, ['slurmd', '-D', '-f', self.environment['SLURM_CONF'], '-N', node], SLURMD_NODENAME=node)

    def kill_node(self, node: str) -> None:
        """A power cut: SIGKILL to the node's slurmd, and to everything that it has started."""
        self.kill_slurmd(node)
        for pid in self.pids(f'SLURMD_NODENAME={node}'):
            kill(pid)

    def kill_slurmd(self, node: str) -> None:
        """SIGKILL to the node's slurmd alone: what runs there goes on."""
        self._daemons[node].kill()
        self._daemons[node].wait()

    def stop(self) -> None:
        """End the daemons and everything that runs on the nodes, and remove the folder."""
        for daemon in self._daemons.values():
            daemon.kill()
            daemon.wait()
        remove(self.folder)

    def run(self, *command: str, folder: Path | None = None, **environment: str) -> str:
        """What a command prints; it must succeed."""
        env = {**self.environment, **environment}
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=PATIENCE)
        assert done.returncode == 0, f'{" ".join(command)}: {done.stdout}{done.stderr}{self.logs()}'
        return done.stdout

    def submit(self, *arguments: str, folder: Path, **environment: str) -> str:
        """`sbatch` in a folder; the job's id."""
        return self.run('sbatch', '--parsable', *arguments, folder=folder, **environment).strip()

    def job(self, job: str) -> dict[str, str]:
        """What `scontrol show job` says of a job."""
        return fields(self.run('scontrol', '--oneliner', 'show', 'job', job))

    def node_state(self, node: str) -> str:
        """IDLE, MIXED, DOWN …, with Slurm's flags behind it (`IDLE*`: not responding)."""
        shown = subprocess.run(
            ['scontrol', '--oneliner', 'show', 'node', node], env=self.environment, capture_output=True, text=True, check=False
        )
        return fields(shown.stdout).get('State', 'unknown')

    def wait(self, job: str, *states: str) -> dict[str, str]:
        """Wait until a job is in one of the states; fails when it ends in another."""
        over = ('COMPLETED', 'FAILED', 'CANCELLED', 'TIMEOUT', 'NODE_FAIL', 'OUT_OF_MEMORY', 'BOOT_FAIL', 'DEADLINE')
        deadline = time.monotonic() + PATIENCE
        while (shown := self.job(job))['JobState'] not in states:
            assert shown['JobState'] not in over and time.monotonic() < deadline, f'job {job}: {shown}\n{self.logs()}'
            time.sleep(0.2)
        return shown

    def pids(self, *environment: str) -> list[int]:
        """Processes of jobs with all of these in their environment, as NAME=value."""
        wanted = {f'SLURM_CONF={self.folder}/slurm.conf', *environment}
        return [pid for pid, found in processes() if wanted <= set(found)]

    def rank(self, job: str, number: int) -> tuple[int, dict[str, str]]:
        """Process id and environment of a rank of slurm/pretrain.sh."""
        wanted = {f'SLURM_CONF={self.folder}/slurm.conf', f'SLURM_JOB_ID={job}', f'SLURM_PROCID={number}'}
        for pid, found in processes():
            with suppress(OSError):  # it has ended
                words = Path(f'/proc/{pid}/cmdline').read_bytes().split(b'\0')
                if wanted <= set(found) and words[1:2] == [b'pretrain/run.py']:
                    return pid, dict(entry.partition('=')[::2] for entry in found if entry)
        raise AssertionError(f'job {job} has no rank {number}{self.logs()}')

    def logs(self) -> str:
        """The last lines of every daemon's log, for a test that fails."""
        files = sorted(self.folder.glob('*.log'))
        return ''.join(f'\n--- {path.name}\n' + '\n'.join(path.read_text().splitlines()[-15:]) for path in files)

    def waiting(self, folder: Path) -> Callable[[Callable[[], bool], str], None]:
        """`wait_for`, which shows what jobs in `folder` and the daemons said when it fails."""

        def logs() -> str:
            return ''.join(f'\n--- {path}\n{path.read_text()}' for path in folder.glob('*.log')) + self.logs()

        return lambda condition, problem: wait_for(condition, problem, logs)

    def _daemon(self, name: str, command: list[str], **environment: str) -> None:
        with (self.folder / f'{name}.out.log').open('ab') as out:
            self._daemons[name] = subprocess.Popen(
                command, env={**self.environment, **environment}, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                preexec_fn=die_with_parent,
            )  # fmt: skip

    def _write_configuration(self) -> None:
        folder, host = self.folder, socket.gethostname().partition('.')[0]
        folder.chmod(0o755)  # munge refuses a folder that others could write to, and its clients must pass
        key = folder / 'munge.key'
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        for node in NODES:
            (folder / node / 'dev').mkdir(parents=True)
            for partition in PARTITIONS:
                (folder / node / 'scratch' / partition).mkdir(parents=True)
            for gpu in range(GPUS):
                os.mknod(folder / node / 'dev' / f'gpu{gpu}', 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        (folder / 'state').mkdir()
        # Each node has a local disk, which holds a folder for each partition.
        prolog = folder / 'task_prolog'
        prolog.write_text(f'#!/bin/sh\necho "export TMPDIR={folder}/$SLURMD_NODENAME/scratch/$SLURM_JOB_PARTITION"\n')
        prolog.chmod(0o755)
        (folder / 'gres.conf').write_text(
            ''.join(f'NodeName={node} Name=gpu Type=a100 File={folder}/{node}/dev/gpu[0-{GPUS - 1}]\n' for node in NODES)
        )
        (folder / 'cgroup.conf').write_text('CgroupPlugin=cgroup/v1\n')
        (folder / 'slurm.conf').write_text(SLURM_CONF.format(folder=folder, host=host, control=free_port()) + ''.join(
            f'NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={free_port()} CPUs=16 RealMemory=4000 '
            f'Weight={number} Gres=gpu:a100:{GPUS}\n'
            for number, node in enumerate(NODES, 1)
        ))  # fmt: skip


# CPUs are more than there are (config_overrides): the GPUs say what fits. A requeued job waits for cred_expire seconds, and a dead node is
# noticed after SlurmdTimeout: both are minutes elsewhere. Ended jobs are kept (MinJobAge). slurmctld looks at time limits twice
# a minute, which cannot be changed.
SLURM_CONF = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={control}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
SlurmctldParameters=preempt_send_user_signal
MinJobAge=86400
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskProlog={folder}/task_prolog
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=2,sched_interval=2,batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
ReturnToService=2
KillWait=20
SlurmdTimeout=10
SlurmctldTimeout=60
GresTypes=gpu
PartitionName=low Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=60
PartitionName=high Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
PartitionName=other Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
"""


def fields(shown: str) -> dict[str, str]:
    """`Key=value Key=value …` as scontrol prints it in one line."""
    return dict(word.partition('=')[::2] for word in shown.split() if '=' in word)


def wait_for(condition: Callable[[], bool], problem: str, logs: Callable[[], str]) -> None:
    """Wait until a condition holds; fails with the problem and the logs."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f'{problem}\n{logs()}'
        time.sleep(0.1)


def end_leftovers() -> None:
    """End what is left of clusters whose starter is dead, and remove their folders."""
    for folder in Path('/tmp').glob(f'{PREFIX}*'):
        with suppress(OSError, ValueError):  # another user's, or one that is just being made
            if not Path('/proc', str(int((folder / OWNER).read_text()))).exists():
                remove(folder)


def remove(folder: Path) -> None:
    """End every process that belongs to the cluster in `folder` (they all have its SLURM_CONF), then delete it."""
    while found := [pid for pid, environment in processes() if f'SLURM_CONF={folder}/slurm.conf' in environment]:
        for pid in found:
            kill(pid)
        time.sleep(0.1)
    shutil.rmtree(folder, ignore_errors=True)


def processes() -> Iterator[tuple[int, list[str]]]:
    """(id, environment) of the processes of this machine but this one."""
    for path in Path('/proc').glob('[0-9]*'):
        with suppress(OSError):  # it has ended, or is another user's
            if int(path.name) != os.getpid() and (environment := (path / 'environ').read_bytes()):
                yield int(path.name), environment.decode(errors='replace').split('\0')


def kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def die_with_parent() -> None:
    """In a child: be killed when the parent ends, in whatever way."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
