"""slurm/build_shards.sh as users submit it: an array with killed and requeued elements builds what one process builds."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster.conftest import Array, task_of
from tests.support.launch import BIN, ROOT, succeed
from tests.support.slurm import Cluster, kill, wait_for

pytestmark = [pytest.mark.slow]


@pytest.fixture(scope='module')
def merge(cluster: Cluster, array: Array) -> Path:
    """The log of the dependent job, which has ended."""
    log = array.logs / f'finish-{array.job}.log'
    wait_for(
        lambda: log.exists() and 'done' in log.read_text(), 'the merge does not run',
        lambda: ''.join(f'\n--- {path}\n{path.read_text()}' for path in sorted(array.logs.glob('*.log'))) + cluster.logs(),
    )  # fmt: skip
    return log


def files(folder: Path) -> dict[str, bytes]:
    """Every finished file below a folder, by relative path."""
    found = (path for path in folder.rglob('*') if path.is_file() and '.build' not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def test_shards_are_those_of_a_local_build(merge: Path, array: Array, home: Path, tmp_path: Path) -> None:
    local = tmp_path / 'shards'
    tokenizer = str(home / 'tokenizer')
    succeed([str(BIN / 'data_pipeline'), 'build', 'opus', '--raw', str(array.raw), '--out', str(local), '--tokenizer', tokenizer], tmp_path)
    assert files(array.out) == files(local) and len(files(local)) > 100
    succeed([str(BIN / 'data_pipeline'), 'verify', str(array.out)], tmp_path)


def test_killed_and_requeued_elements_run_again(merge: Path, array: Array) -> None:
    first, killed, requeued, last = (array.log(element).read_text() for element in range(4))
    for log in (killed, last):
        assert 'attempt 1: failed with exit code 137; failure 1 without progress' in log and 'attempt 2: done' in log
    assert 'DUE TO JOB REQUEUE' in requeued and 'attempt 2: done' in requeued
    assert 'attempt 1: done' in first and 'attempt 2' not in first, 'an element requeues itself alone'
    for log in (killed, requeued, last):
        assert 'attempt 3' not in log


def test_the_merge_is_charged_and_limited_as_the_array(cluster: Cluster, merge: Path, array: Array) -> None:
    jobs = cluster.run('scontrol', '--oneliner', 'show', 'job').splitlines()
    (merged,) = [line for line in jobs if f'JobName=finish-{array.job} ' in line]
    assert 'TimeLimit=03:00:00' in merged and 'Partition=other' in merged, merged


def test_a_merge_beside_an_incomplete_corpus_and_with_its_work_elsewhere(cluster: Cluster, tmp_path: Path) -> None:
    out, scratch, local = (tmp_path / name for name in ('shards', 'scratch', 'local'))
    places = ['--out', str(out), '--scratch', str(scratch)]
    build = [str(BIN / 'data_pipeline'), 'build']
    raw = {corpus: ['--raw', str(ROOT / 'sample/raw' / corpus), '--holdout', '0.04'] for corpus in ('cc3m', 'cc12m')}
    succeed([*build, 'cc12m', *raw['cc12m'], *places, '--task', '0', '--tasks', '99'], tmp_path)  # the array of another corpus is at work
    options = ['--array=0-1', '--partition=other', '--cpus-per-task=2', f'--output={tmp_path}/%x-%A_%a.log']
    job = cluster.submit(*options, 'slurm/build_shards.sh', 'cc3m', *raw['cc3m'], '--out', str(out), f'--scratch={scratch}', folder=ROOT)
    log = tmp_path / f'finish-{job}.log'
    cluster.waiting(tmp_path)(lambda: log.exists() and 'attempt 1: done' in log.read_text(), 'the merge does not succeed')
    succeed([*build, 'cc3m', *raw['cc3m'], '--out', str(local)], tmp_path)
    assert files(out) == files(local)


def test_an_array_with_gaps_is_refused(cluster: Cluster, folder: Path) -> None:
    arguments = ['slurm/build_shards.sh', 'opus', '--raw', 'r', '--out', 'o']
    job = cluster.submit('--array=0-4:2', f'--output={folder}/%x-%A_%a.log', *arguments, folder=ROOT)
    log = folder / f'build_shards-{job}_2.log'
    told = 'error: the array has gaps (3 elements from 0 to 4)'
    wait_for(lambda: log.exists() and told in log.read_text(), 'nothing is said', cluster.logs)


def test_the_merge_waits_for_all_and_runs_once(merge: Path, array: Array) -> None:
    assert merge.read_text().count(' tasks on ') == 1
    (submitting,) = [number for number in range(4) if 'Submitted batch job' in array.log(number).read_text()]
    assert submitting == 0
    assert merge.stat().st_mtime > max(array.log(number).stat().st_mtime for number in range(4))


def test_an_element_that_keeps_failing_gives_up_and_nothing_is_merged(cluster: Cluster, array: Array, home: Path, tmp_path: Path) -> None:
    arguments = ['opus', '--raw', str(array.raw), '--out', str(tmp_path / 'shards'), '--tokenizer', str(home / 'tokenizer')]
    options = ['--array=0-1', '--cpus-per-task=1', f'--output={tmp_path}/%x-%A_%a.log']
    job = cluster.submit(*options, 'slurm/build_shards.sh', *arguments, folder=ROOT, MAX_FAILURES='1')
    log = tmp_path / f'build_shards-{job}_0.log'
    for pid in task_of(cluster, job, 0):
        kill(pid)
    cluster.wait(f'{job}_0', 'FAILED')
    assert 'giving up: the reason is ' in log.read_text()
    wait_for(lambda: f'finish-{job}' not in cluster.run('squeue', '--noheader', '--format=%j'), 'the merge still waits', cluster.logs)
    assert not (tmp_path / f'finish-{job}.log').exists()


def test_an_array_of_one_element_needs_no_merge(cluster: Cluster, tmp_path: Path) -> None:
    """A build of one task merges by itself; a second merge would need a folder that both jobs see."""
    arguments = ['--raw', str(ROOT / 'sample/raw/cc12m'), '--holdout', '0.04']
    options = ['--array=0', '--partition=other', '--cpus-per-task=2', f'--output={tmp_path}/%x-%A_%a.log']
    shards, local = tmp_path / 'shards', tmp_path / 'local'
    job = cluster.submit(*options, 'slurm/build_shards.sh', 'cc12m', *arguments, '--out', str(shards), folder=ROOT)
    log = tmp_path / f'build_shards-{job}_0.log'
    cluster.waiting(tmp_path)(lambda: log.exists() and 'attempt 1: done' in log.read_text(), 'the build does not succeed')
    assert 'Submitted batch job' not in log.read_text()
    succeed([str(BIN / 'data_pipeline'), 'build', 'cc12m', *arguments, '--out', str(local)], tmp_path)
    assert files(shards) == files(local)


def test_what_the_array_says_is_not_said_twice(cluster: Cluster, folder: Path) -> None:
    job = cluster.submit(
        '--array=0-1', f'--output={folder}/%x-%A_%a.log', 'slurm/build_shards.sh', 'opus', '--raw', 'r', '--out', 'o', '--tasks', '4',
        folder=ROOT,
    )  # fmt: skip
    log = folder / f'build_shards-{job}_1.log'
    wait_for(lambda: log.exists() and 'error: --tasks comes from the array' in log.read_text(), 'nothing is said', cluster.logs)
