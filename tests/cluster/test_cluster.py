"""The cluster of the tests themselves: it needs Slurm, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import slurm
from tests.support.launch import ROOT
from tests.support.slurm import Cluster, end_leftovers, lacking, processes, require, wait_for

ABORTED = """
import sys, time
from pathlib import Path
from tests.support.slurm import Cluster
cluster = Cluster()
cluster.start()
job = cluster.submit('--wrap=srun sleep 1000', folder=Path(sys.argv[1]))
cluster.wait(job, 'RUNNING')
print(cluster.folder, flush=True)
time.sleep(1000)
"""


def members(folder: Path) -> list[int]:
    return [pid for pid, environment in processes() if f'SLURM_CONF={folder}/slurm.conf' in environment]


@pytest.mark.slow
def test_a_killed_run_leaves_nothing_that_lasts(cluster: Cluster, tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, '-c', ABORTED, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True, process_group=0)
    assert process.stdout
    folder = Path(process.stdout.readline().strip())
    assert len(members(folder)) >= 4 and (folder / 'slurm.conf').exists()
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    wait_for(lambda: not any('slurmctld' in Path(f'/proc/{pid}/cmdline').read_text() for pid in members(folder)), 'slurmctld lives', str)
    end_leftovers()
    assert not members(folder) and not folder.exists()
    assert members(cluster.folder) and cluster.folder.exists()  # whose starter is alive


def test_what_is_lacking_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm, 'COMMANDS', ('sh', 'no-such-slurmctld'))
    assert lacking() == 'no no-such-slurmctld here (Debian: apt-get install slurmctld slurmd slurm-client munge)'


def test_without_slurm_it_is_skipped_with_words_and_in_ci_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv('REQUIRE_SLURM', raising=False)
    with pytest.raises(pytest.skip.Exception, match=r'the Slurm scripts were NOT run on a cluster .*: no slurmctld here'):
        require('no slurmctld here')
    monkeypatch.setenv('REQUIRE_SLURM', '1')
    with pytest.raises(pytest.fail.Exception, match='no slurmctld here'):
        require('no slurmctld here')
