"""A slurmd that dies alone: Slurm gives its node up, and what runs there lives on beside the job's next attempt."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import yaml

from pretrain.records import EVENTS, METRICS, read_lines
from tests.cluster.conftest import ONE_A_NODE, Venv, pretrain
from tests.support.launch import ROOT, forked, reproducible, steps, tiny
from tests.support.slurm import Cluster

pytestmark = [pytest.mark.slow, pytest.mark.launcher]

SETTINGS = ['tasks=[mlm, itm]', 'checkpoint.every=4', 'data.workers=0']


def test_a_run_whose_slurmd_dies_goes_on_and_neither_loses_nor_repeats_a_sample(
    cluster: Cluster, home: Path, folder: Path, warmed: dict[str, str]
) -> None:
    venv = Venv(folder / 'slurmd.venv')
    place, config = folder / 'slurmd', folder / 'slurmd.yaml'

    def train_to(count: int) -> None:
        settings = yaml.safe_load((ROOT / 'configs/sample.yaml').read_text())
        config.write_text(yaml.safe_dump({**settings, 'steps': count}))

    until = cluster.waiting(place)
    train_to(100_000)
    options = ['--nodes=1', '--nodelist=n1', '--gpus-per-node=1', *ONE_A_NODE]
    words = ['--config', str(config), *tiny(home, place / 'run'), *SETTINGS]
    started = pretrain(cluster, place, options, words, HEALTHCHECK='off', VENV=str(venv.link))
    out, job = started.out, started.job
    until(lambda: steps(out) >= 2, 'the job does not train')
    rank, _ = cluster.rank(job, 0)
    cluster.kill_slurmd('n1')
    alone = steps(out)
    until(lambda: steps(out) >= alone + 6, 'the rank does not go on without its slurmd')
    os.kill(rank, signal.SIGSTOP)  # it keeps its lock, and makes no more steps than can be trained again in a short time
    train_to(steps(out) + 5)
    venv.to(warmed)  # nothing stops the next attempt
    until(lambda: cluster.job(job)['JobState'] == 'PENDING', 'the job is not requeued after its slurmd died')
    cluster.run('scontrol', 'update', f'JobId={job}', 'ReqNodeList=')
    second = started.log.with_name(f'{started.log.stem}.attempt-2.log')
    until(lambda: second.exists() and 'waiting for another run in' in second.read_text(), 'the next attempt does not meet the last one')
    cluster.start_node('n1')
    cluster.wait(job, 'COMPLETED')
    assert cluster.job(job)['NodeList'] == 'n0' and not Path(f'/proc/{rank}').exists()
    resumed = [(line['event'], line['step']) for line in read_lines(out / EVENTS) if line['event'] in ('start', 'resume')]
    assert resumed[0] == ('start', 0) and resumed[1:] == [('resume', resumed[-1][1])] and resumed[-1][1] >= 4

    whole = folder / 'whole'
    forked(1, home, whole, f'steps={steps(out)}', *SETTINGS)
    ours, theirs = ([reproducible(line) for line in read_lines(run / METRICS)] for run in (out, whole))
    assert ours == theirs
