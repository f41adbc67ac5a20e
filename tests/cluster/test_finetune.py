"""slurm/finetune.sh with a fine-tuning, told by Slurm to stop in the middle: it is requeued, goes on, and tests the model."""

from __future__ import annotations

import json

import pytest

from pretrain.records import EVENTS, read_lines
from tests.cluster.conftest import Started
from tests.support.launch import steps
from tests.support.slurm import Cluster

pytestmark = [pytest.mark.slow, pytest.mark.launcher]


def test_a_stopped_fine_tuning_goes_on_and_is_tested(cluster: Cluster, tuned: Started) -> None:
    out, log = tuned.out, tuned.log
    cluster.wait(tuned.job, 'COMPLETED')
    assert 'attempt 1: stopped by Slurm (exit code 138)' in log.read_text() and 'attempt 2: done' in log.read_text()
    events = [(line['event'], line.get('code')) for line in read_lines(out / EVENTS) if line['event'] in ('start', 'resume', 'end')]
    # The rank is told as well, and its launcher ends of the signal: it stops for what it notices first.
    assert events in [[('start', None), ('end', stopped), ('resume', None), ('end', 0)] for stopped in (138, 143)]
    assert steps(out) == 200
    assert json.loads((out / 'result.json').read_text())['languages']['en']['rows'] == 18
