"""A job that does not stop ahead of its time limit: Slurm kills it at the limit, and it runs again all the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.slurm import Cluster, wait_for

pytestmark = [pytest.mark.slow]


def test_a_process_that_hangs_until_the_limit_is_killed_and_the_job_goes_on(cluster: Cluster, stuck: Path) -> None:
    wait_for(lambda: 'attempt 2: done' in stuck.read_text(), 'the job does not come back', lambda: stuck.read_text() + cluster.logs())
    log = stuck.read_text()
    assert 'CANCELLED AT' in log and 'DUE TO TIME LIMIT' in log
    places = [log.find(words) for words in ('attempt 1: stopped by Slurm (exit code', 'attempt 2 of job', 'attempt 2: done')]
    assert -1 not in places and places == sorted(places), log
    # By the trap while srun still waits, or after it, as it happens; not by both.
    assert ('requeued, to go on at the last checkpoint' in log) != ('  requeued\n' in log), log
    assert 'attempt 1: done' not in log
