"""The health check in front of a job: a node with a full disk is named and avoided, and the job runs elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from pretrain.records import EVENTS, read_lines
from tests.cluster.conftest import ONE_A_NODE, Started, pretrain
from tests.support.launch import ROOT
from tests.support.slurm import Cluster

pytestmark = [pytest.mark.slow, pytest.mark.launcher]


def test_a_bad_node_is_named_and_the_job_runs_without_it(cluster: Cluster, worn: Started) -> None:
    shown = cluster.wait(worn.job, 'COMPLETED')
    assert (shown['ExcNodeList'], shown['NodeList'], shown['Restarts']) == ('n0', 'n1', '1')
    log = worn.log.read_text()
    disk = cluster.folder / 'n0/scratch/other'
    assert f'bad node n0: disk {disk}: 0.0 GB free, 5 are needed' in log
    assert 'attempt 1: not started, n0 unfit' in log and 'requeued without n0' in log
    assert 'health check: 1 of 1 nodes fit' in worn.attempt(2) and 'attempt 2: done' in log
    assert read_lines(worn.out / EVENTS)[0]['event'] == 'start'  # the first attempt trained nothing


def test_by_itself_it_checks_what_is_there_and_says_what_it_skipped(cluster: Cluster, folder: Path, warmed: dict[str, str]) -> None:
    """With a bandwidth that no node has: a mistake of who asks for it, and no node's."""
    options = ['--nodes=2', '--gpus-per-node=1', *ONE_A_NODE, f'--output={folder}/%x-%j.log']
    job = cluster.submit(*options, 'slurm/healthcheck.sh', '--folder', str(folder), '--bandwidth', '1e6', folder=ROOT, **warmed)
    assert cluster.wait(job, 'FAILED')['ExitCode'] == '2:0'
    printed = (folder / f'healthcheck-{job}.log').read_text()
    for node in ('n0', 'n1'):
        assert f'{node:<12} skipped gpu: no nvidia-smi here' in printed
        assert f'{node:<12} ok      disk {folder}: ' in printed
    assert 'n1           ok      clock: within 0.' in printed and 'n0 with n1   all-reduce ' in printed
    assert 'error: bandwidth: all-reduce with n1 at ' in printed and ' on all 2 nodes, ' in printed and 'bad node' not in printed
    assert 'health check: 0 of 2 nodes fit' in printed


def test_what_is_bad_on_all_nodes_ends_the_job_and_excludes_none(cluster: Cluster, folder: Path, warmed: dict[str, str]) -> None:
    """The disk of the run is on all nodes the same one."""
    options = ['--nodes=2', '--gpus-per-node=1', *ONE_A_NODE]
    job = pretrain(cluster, folder / 'shared', options, ['--config', 'configs/sample.yaml', 'out=/proc/run'], **warmed)
    shown = cluster.wait(job.job, 'FAILED')
    assert (shown['ExitCode'], shown['ExcNodeList'], shown['Restarts']) == ('2:0', '(null)', '0')
    log = job.log.read_text()
    assert 'error: disk /proc: ' in log and ' on all 2 nodes, ' in log and 'bad node' not in log
