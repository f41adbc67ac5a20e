"""slurm/pretrain.sh as users submit it: preempted, out of time, on a node that dies; in the end the curve is that of an unbroken run."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from pretrain.records import EVENTS, METRICS, read_lines
from tests.cluster.conftest import ONE_A_NODE, Array, Started, Venv, pretrain
from tests.support.launch import ROOT, forked, reproducible, steps, tiny
from tests.support.slurm import Cluster, wait_for

EMOJI = ROOT / 'sample/evaluation/multi30k_emoji'
NEVER = 100_000  # steps; the last attempt is told to stop earlier
NETWORK = {'NCCL_SOCKET_IFNAME': 'lo', 'TORCH_FR_BUFFER_SIZE': '500'}  # what the submitter sets

pytestmark = [pytest.mark.slow, pytest.mark.launcher]


@dataclass(frozen=True)
class Life:
    """A run of four attempts, in one job: the first as users start it, the next two with a health check, and the last, which nothing stops,
    with ranks that have imported everything.
    """

    started: Started
    preempted: int  # step of the checkpoint that the preemption left
    timed_out: int  # step of that before the time limit
    killed: int  # last step of the attempt whose node died
    environment: dict[str, str]  # of rank 1 in the first attempt
    shown: dict[str, str]  # the finished job

    @property
    def out(self) -> Path:
        return self.started.out


@pytest.fixture(scope='module')
def life(
    cluster: Cluster, home: Path, folder: Path, checked: dict[str, str], warmed: dict[str, str],
    array: Array, worn: Started, stuck: Path, dry: Started, tuned: Started,
) -> Life:  # fmt: skip
    place, venv = folder / 'life', Venv(folder / 'life.venv')
    config = folder / 'life.yaml'  # read anew by each attempt

    def configure(steps: int, workers: int) -> None:
        settings = yaml.safe_load((ROOT / 'configs/sample.yaml').read_text())
        settings['data']['workers'] = workers
        config.write_text(yaml.safe_dump({**settings, 'steps': steps}))

    configure(NEVER, workers=1)
    options = ['--nodes=2', '--gpus-per-node=4', '--time=30', '--signal=USR1@30', *ONE_A_NODE]
    started = pretrain(cluster, place, options, ['--config', str(config), *tiny(home, place / 'run')], **NETWORK, VENV=str(venv.link))
    out, job = started.out, started.job
    until = cluster.waiting(place)
    until(lambda: steps(out) >= 3, 'the job does not train')
    _, environment = cluster.rank(job, 1)
    venv.to(checked)
    with stopped(cluster, job, until, 'the preemption'):
        cluster.submit('--partition=high', '--nodes=2', '--gpus-per-node=5', '--wrap=true', folder=folder)
    until(lambda: len(resumed(out)) == 1, 'the job does not come back after its preemption')
    preempted = resumed(out)[-1]
    until(lambda: steps(out) >= preempted + 3, 'the job does not train after its preemption')
    configure(NEVER, workers=0)
    with stopped(cluster, job, until, 'the time limit'):
        limit(cluster, job)
    until(lambda: cluster.job(job)['JobState'] == 'PENDING', 'the job is not requeued ahead of its time limit')
    cluster.run('scontrol', 'update', f'JobId={job}', 'TimeLimit=30')
    until(lambda: len(resumed(out)) == 2, 'the job does not come back after its time limit')
    timed_out = resumed(out)[-1]
    until(lambda: steps(out) >= timed_out + 3, 'the job does not train after its time limit')
    ranks = [cluster.rank(job, number)[0] for number in (0, 1)]
    send(ranks, signal.SIGSTOP)
    until(lambda: cluster.run('squeue', '--noheader', '--nodelist=n1', '--format=%A').split() == [job], 'other jobs on n1 do not end')
    send(ranks, signal.SIGCONT)
    cluster.kill_node('n1')
    until(lambda: cluster.job(job)['JobState'] == 'PENDING', 'the job is not requeued after its node died')
    until(lambda: cluster.node_state('n1').startswith('DOWN'), 'Slurm does not notice that the node is dead')
    killed = steps(out)
    configure(killed + 5, workers=0)
    venv.to(warmed)
    cluster.start_node('n1')
    return Life(started, preempted, timed_out, killed, environment, cluster.wait(job, 'COMPLETED'))


@contextmanager
def stopped(cluster: Cluster, job: str, until: Callable[[Callable[[], bool], str], None], why: str) -> Iterator[None]:
    """Ranks stand still until they are told to stop: each step that they make meanwhile would be made once more by the unbroken run."""
    ranks = [cluster.rank(job, number)[0] for number in (0, 1)]
    send(ranks, signal.SIGSTOP)
    yield
    until(lambda: all(told(rank) for rank in ranks), f'no signal comes ahead of {why}')
    send(ranks, signal.SIGCONT)


def send(ranks: list[int], number: signal.Signals) -> None:
    for rank in ranks:
        with suppress(ProcessLookupError):  # Slurm had let it go on, and it has ended
            os.kill(rank, number)


def limit(cluster: Cluster, job: str) -> None:
    """Let a running job's time be over in 50 to 110 seconds. Slurm counts in minutes, and looks twice a minute, when it sends the signal to
    jobs that have less than a minute left: with less than half a minute the limit might come before the signal. A limit from the start
    would have to be long enough for the slowest start on a busy machine.
    """
    days, clock = ('0-' + cluster.job(job)['RunTime']).split('-')[-2:]
    hours, minutes, seconds = (int(part) for part in clock.split(':'))
    elapsed = int(days) * 86400 + hours * 3600 + minutes * 60 + seconds
    cluster.run('scontrol', 'update', f'JobId={job}', f'TimeLimit={(elapsed + 50) // 60 + 1}')


def told(rank: int) -> bool:
    """Whether a stopped rank has been sent SIGUSR1. Slurm may have let it go on, too, even to its end."""
    try:
        status = dict(line.split(':\t', 1) for line in Path(f'/proc/{rank}/status').read_text().splitlines())
    except (FileNotFoundError, ProcessLookupError):
        return True
    return not status['State'].startswith('T') or bool(int(status['ShdPnd'], 16) >> (signal.SIGUSR1 - 1) & 1)


def resumed(out: Path) -> list[int]:
    """Steps at which attempts went on."""
    lines = read_lines(out / EVENTS) if (out / EVENTS).exists() else []
    return [line['step'] for line in lines if line['event'] == 'resume']


def test_the_curve_is_that_of_an_unbroken_run(life: Life, home: Path, folder: Path) -> None:
    """Which Slurm has not started, and which has no loader processes: every loss, norm, rate and sample id is the same number."""
    out = folder / 'unbroken'
    forked(2, home, out, f'steps={steps(life.out)}', 'data.workers=0')
    ours, theirs = ([reproducible(line) for line in read_lines(run / METRICS)] for run in (life.out, out))
    assert ours == theirs


def test_every_attempt_goes_on_where_the_last_one_stopped(life: Life) -> None:
    assert resumed(life.out) == [life.preempted, life.timed_out, life.timed_out]
    assert 3 <= life.preempted < life.timed_out < life.killed < steps(life.out)
    ends = [(line['step'], line['code']) for line in read_lines(life.out / EVENTS) if line['event'] == 'end']
    assert [step for step, _ in ends] == [life.preempted, life.timed_out, steps(life.out)]
    assert ends[-1][1] == 0 and all(code > 0 for _, code in ends[:-1])
    (aside,) = life.out.glob('metrics.attempt-*.jsonl')  # of the attempt whose node died
    assert json.loads(aside.read_text().splitlines()[0])['step'] == life.timed_out + 1


def test_slurm_sees_one_job_that_was_requeued_thrice(life: Life) -> None:
    assert life.shown['JobState'] == 'COMPLETED' and life.shown['Restarts'] == '3' and life.shown['NodeList'] == 'n[0-1]'


def test_a_rank_gets_the_network_that_slurm_and_the_submitter_say(life: Life) -> None:
    flight = life.out / 'flight'
    wanted = {
        **NETWORK, 'MASTER_ADDR': '127.0.0.1', 'TORCH_NCCL_ASYNC_ERROR_HANDLING': '3', 'DEEPSPEED_TIMEOUT': '30',
        'TORCH_NCCL_HEARTBEAT_TIMEOUT_SEC': '600', 'TORCH_NCCL_DUMP_ON_TIMEOUT': '1', 'NCCL_DEBUG': 'WARN', 'OMP_NUM_THREADS': '1',
        'TORCH_FR_DUMP_TEMP_FILE': f'{flight}/attempt-1.rank-',
    }  # fmt: skip
    assert {key: life.environment.get(key) for key in wanted} == wanted
    assert 16000 <= int(life.environment['MASTER_PORT']) < 32768 and flight.is_dir()


def test_the_log_tells_of_every_attempt(life: Life) -> None:
    log = life.started.log.read_text()
    for attempt in range(1, 5):
        assert f'attempt {attempt} of job {life.started.job}, 2 tasks on n[0-1]: python pretrain/run.py --config' in log
        assert re.search(r'^[01]: step \d+/', life.started.attempt(attempt), re.MULTILINE)
        assert re.search(r'^n0 with n1 +all-reduce \d.*\nhealth check: 2 of 2 nodes fit', life.started.attempt(attempt), re.MULTILINE)
    for words in ('attempt 1: stopped by Slurm (exit code 138)', 'attempt 2: stopped by Slurm (exit code 138)', 'attempt 4: done'):
        assert words in log
    assert f'resuming after step {life.timed_out} of' in life.started.attempt(4)


def test_a_stop_leaves_no_stack_trace(life: Life) -> None:
    """Slurm's signal reaches the loader processes and their helpers as well: whose business it is not."""
    for attempt in (1, 2):
        assert 'Traceback' not in life.started.attempt(attempt)
        assert 'a loader process was killed' not in life.started.attempt(attempt)


def test_a_finished_run_is_evaluated_by_a_job(cluster: Cluster, life: Life, folder: Path, warmed: dict[str, str]) -> None:
    """slurm/finetune.sh, behind the pre-training as a dependency."""
    result = folder / 'result'
    options = [f'--dependency=afterok:{life.started.job}', '--cpus-per-task=1', f'--output={folder}/%x-%j.log']
    arguments = ['--model', str(life.out), '--data', str(EMOJI), '--languages', 'en', '--out', str(result)]
    job = cluster.submit(*options, 'slurm/finetune.sh', 'multi30k-retrieval', 'evaluate', *arguments, folder=ROOT, **warmed)
    cluster.wait(job, 'COMPLETED')
    assert json.loads((result / 'result.json').read_text())
    assert 'attempt 1: done' in (folder / f'finetune-{job}.log').read_text()


def evaluation(cluster: Cluster, life: Life, folder: Path, *options: str) -> tuple[str, Path]:
    """An evaluation that has just been started, and its log."""
    arguments = ['multi30k-retrieval', 'evaluate', '--model', str(life.out), '--data', str(EMOJI), '--out', str(folder / 'unfinished')]
    job = cluster.submit(*options, '--cpus-per-task=1', f'--output={folder}/%x-%j.log', 'slurm/finetune.sh', *arguments, folder=ROOT)
    log = folder / f'finetune-{job}.log'
    wait_for(lambda: log.exists() and 'output:' in log.read_text(), 'the job does not start', cluster.logs)
    wait_for(lambda: bool(cluster.pids(f'SLURM_JOB_ID={job}', 'SLURM_STEP_ID=0')), 'the job has no task', cluster.logs)
    return job, log


def test_a_cancelled_job_stays_cancelled(cluster: Cluster, life: Life, folder: Path) -> None:
    """Although its task is stopped by SIGTERM, as by a preemption."""
    job, log = evaluation(cluster, life, folder)
    cluster.run('scancel', job)
    wait_for(lambda: 'ended by Slurm (cancelled' in log.read_text(), f'the script does not end: {log.read_text()}', cluster.logs)
    assert cluster.job(job)['JobState'] in ('CANCELLED', 'COMPLETING') and cluster.job(job)['Restarts'] == '0'


def test_where_requeueing_is_forbidden_the_log_says_what_to_do(cluster: Cluster, life: Life, folder: Path) -> None:
    job, log = evaluation(cluster, life, folder, '--no-requeue')
    cluster.run('scancel', '--signal=USR1', job)
    assert cluster.wait(job, 'FAILED')['Restarts'] == '0'
    assert 'could not be requeued (sbatch --no-requeue?); submit again to continue' in log.read_text()


def test_a_dry_run_starts_every_rank_on_its_node_and_writes_nothing(cluster: Cluster, dry: Started) -> None:
    shown = cluster.wait(dry.job, 'COMPLETED')
    assert (shown['NodeList'], shown['Restarts']) == ('n[0-1]', '0')
    printed = dry.attempt(1)
    # All nodes of this cluster have one host name.
    assert re.search(r'^0: +processes +2 on 1 machine, cpu$', printed, re.MULTILINE), printed
    assert re.search(r'^0: +losses +mlm \d.*itm \d|^0: +losses +itm \d.*mlm \d', printed, re.MULTILINE), printed
    assert f'0: dry run: this run can start; no step was made, nothing was written to {dry.out}' in printed and not dry.out.exists()
    assert 'attempt 1: done' in dry.log.read_text()


def test_a_mistake_is_told_before_anything_starts(cluster: Cluster, folder: Path) -> None:
    options = ['--nodes=1', '--gpus-per-node=1', *ONE_A_NODE]
    started = pretrain(cluster, folder / 'mistake', options, ['--config', 'configs/sample.yaml', 'batch.globl=3'])
    assert cluster.wait(started.job, 'FAILED')['ExitCode'] == '2:0'
    log = started.log.read_text()
    assert 'error: unknown setting batch.globl' in log and log.count('\n') == 1
