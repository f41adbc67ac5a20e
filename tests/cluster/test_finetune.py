"""slurm/finetune.sh with a fine-tuning, told by Slurm to stop in the middle: it is requeued, goes on, and tests the model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pretrain.records import EVENTS, read_lines
from tests.cluster.conftest import ONE_A_NODE
from tests.downstream.conftest import export  # noqa: F401  (a fixture)
from tests.support.launch import ROOT, steps
from tests.support.slurm import Cluster, wait_for
from tests.support.toy_benchmarks import write_xvnli

pytestmark = [pytest.mark.slow, pytest.mark.launcher]

SETTINGS = [
    'steps=200', 'batch.global=8', 'batch.micro=8', 'eval.every=200', 'checkpoint.every=200', 'optimizer.warmup=0', 'precision=fp32',
    'data.workers=0', 'log.tensorboard=false',
]  # fmt: skip


def test_a_stopped_fine_tuning_goes_on_and_is_tested(cluster: Cluster, export: Path, tmp_path: Path) -> None:  # noqa: F811
    write_xvnli(tmp_path / 'data', 2)
    out = tmp_path / 'out'
    folders = ['--model', str(export), '--data', str(tmp_path / 'data'), '--out', str(out)]
    arguments = ['xvnli', 'finetune', *folders, '--ranks', '1', *SETTINGS]
    options = [*ONE_A_NODE, f'--output={tmp_path}/%x-%j.log']
    job = cluster.submit(*options, 'slurm/finetune.sh', *arguments, folder=ROOT)
    log = tmp_path / f'finetune-{job}.log'

    def told() -> str:
        return ''.join(f'\n--- {path}\n{path.read_text()}' for path in tmp_path.glob('*.log')) + cluster.logs()

    wait_for(lambda: steps(out) >= 5, 'the job does not train', told)
    cluster.run('scancel', '--signal=USR1', job)
    cluster.wait(job, 'COMPLETED')
    assert 'attempt 1: stopped by Slurm (exit code 138)' in log.read_text() and 'attempt 2: done' in log.read_text()
    events = [(line['event'], line.get('code')) for line in read_lines(out / EVENTS) if line['event'] in ('start', 'resume', 'end')]
    # The rank is told as well, and its launcher ends of the signal: it stops for what it notices first.
    assert events in [[('start', None), ('end', stopped), ('resume', None), ('end', 0)] for stopped in (138, 143)]
    assert steps(out) == 200
    assert json.loads((out / 'result.json').read_text())['languages']['en']['rows'] == 18
