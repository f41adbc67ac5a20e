"""What slurm/attempts.sh makes of the exit codes of attempts in a row. Slurm's answers are given here; the other files ask a real one."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.launch import BIN, ROOT

SLURM = """#!/bin/sh
case "$1" in
    show) echo "JobState=RUNNING Reason=None Restarts=${RESTARTS:-${SLURM_RESTART_COUNT:-0}} ExcNodeList=(null) StdOut=$PWD/job.log" ;;
    "$REFUSED") echo "$1: refused" >&2; exit 1 ;;
    *) echo "$@" >>said ;;
esac
"""
ATTEMPT = """
cd "$ROOT" && VENV=$BIN && source slurm/lib.sh && cd "$FOLDER"
code=$1; shift
: >"$attempt_log"
"$@"
"""


def attempt(folder: Path, code: int, *progress: str, **variables: str) -> tuple[int, str]:
    """End an attempt in `folder`; the script's exit code and what it printed."""
    return call(folder, ATTEMPT, str(code), 'end_attempt', *progress, **variables)


def excluding(folder: Path, nodes: str, **variables: str) -> tuple[int, str]:
    """The same of an attempt that found unfit nodes."""
    return call(folder, ATTEMPT, '1', 'exclude', nodes, **variables)


def call(folder: Path, script: str, *arguments: str, **variables: str) -> tuple[int, str]:
    """Run a script in the place of a job whose log is in `folder`; its exit code and what it printed."""
    (folder / 'scontrol').write_text(SLURM.replace('$PWD', str(folder)).replace('>>said', f'>>{folder}/said'))
    (folder / 'scontrol').chmod(0o755)
    environment = {
        'PATH': f'{folder}:{BIN}:{os.environ["PATH"]}', 'SLURM_JOB_ID': '7', 'ROOT': str(ROOT), 'BIN': str(BIN.parent),
        'FOLDER': str(folder), 'REFUSED': 'nothing', **variables,
    }  # fmt: skip
    done = subprocess.run(
        ['bash', '-c', script, 'bash', *arguments], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        check=False,
    )  # fmt: skip
    return done.returncode, done.stdout


def test_stops_without_a_new_checkpoint_are_counted(tmp_path: Path) -> None:
    for _ in range(2):
        code, printed = attempt(tmp_path, 138, 'step-4', 'step-4', MAX_STOPS='3')
        assert code == 138 and printed.endswith('requeued\n'), printed
    code, printed = attempt(tmp_path, 143, 'step-4', 'step-4', MAX_STOPS='3')
    assert code == 143 and 'giving up: stopped 3 times without progress: ' in printed
    assert (tmp_path / 'said').read_text() == 'requeue 7\n' * 2


def test_a_new_checkpoint_begins_the_count_anew(tmp_path: Path) -> None:
    for step in range(2):
        for after in (step, step + 1):
            assert attempt(tmp_path, 138, f'step-{after}', f'step-{step}', MAX_STOPS='2')[1].endswith('requeued\n')


def test_a_stop_does_not_hide_failures(tmp_path: Path) -> None:
    printed = [attempt(tmp_path, code, 'step-4', 'step-4')[1] for code in (1, 138, 1, 138, 1)]
    assert 'failure 3 without progress' in printed[-1] and 'giving up: the reason is ' in printed[-1]


def test_where_nobody_knows_the_progress_there_is_none(tmp_path: Path) -> None:
    """An evaluation that does not fit into its time limit starts over each time."""
    assert attempt(tmp_path, 143, MAX_STOPS='2')[1].endswith('requeued\n')
    assert 'giving up: stopped 2 times without progress: ' in attempt(tmp_path, 143, MAX_STOPS='2')[1]


def test_where_attempts_cannot_be_counted_none_follows(tmp_path: Path) -> None:
    """On a full disk each would be the first."""
    assert attempt(tmp_path, 1)[1].endswith('requeued\n')
    (tmp_path / 'job.failures.new').symlink_to('/dev/full')
    code, printed = attempt(tmp_path, 1)
    assert code == 1 and 'No space left on device' in printed and 'giving up: ' in printed and 'job.failures cannot be written' in printed
    assert (tmp_path / 'said').read_text() == 'requeue 7\n'


def test_nodes_are_excluded_a_limited_number_of_times(tmp_path: Path) -> None:
    for node in ('n1', 'n2'):
        assert excluding(tmp_path, node, MAX_UNFIT='3')[1].endswith(f'requeued without {node}\n')
    said = 'requeuehold 7\nupdate JobId=7 ExcNodeList=n{}\nrelease 7\n'
    assert (tmp_path / 'said').read_text() == said.format(1) + said.format(2)
    code, printed = excluding(tmp_path, 'n3', MAX_UNFIT='3')
    assert code == 1 and 'giving up: 3 attempts in a row met unfit nodes' in printed
    assert (tmp_path / 'said').read_text().count('requeuehold') == 2


def test_a_job_is_let_go_when_its_node_cannot_be_excluded(tmp_path: Path) -> None:
    printed = excluding(tmp_path, 'n1', REFUSED='update')[1]
    assert 'update: refused' in printed and printed.endswith('requeued, but Slurm does not take --exclude=n1 (above)\n')
    assert (tmp_path / 'said').read_text() == 'requeuehold 7\nrelease 7\n'


def test_a_job_that_stays_on_hold_says_how_it_is_let_go(tmp_path: Path) -> None:
    printed = excluding(tmp_path, 'n1', REFUSED='release')[1]
    assert printed.endswith('requeued without n1; it is on hold (above) and waits until you say: scontrol release 7\n')


def test_an_attempt_that_slurm_has_given_up_requeues_nothing(tmp_path: Path) -> None:
    """Its node was cut off and lived on; the job's next attempt runs elsewhere."""
    assert 'ended by Slurm' in attempt(tmp_path, 1, RESTARTS='1')[1]
    assert not (tmp_path / 'said').exists()


def test_a_node_that_lost_the_environment_costs_an_attempt_and_not_the_job(tmp_path: Path) -> None:
    source = 'cd "$ROOT" && source slurm/lib.sh'
    path = f'{tmp_path}:/usr/bin:/bin'
    code, printed = call(tmp_path, source, PATH=path, VENV='gone')
    assert (code, printed.count('\n')) == (2, 1) and 'error: no data_pipeline in gone/bin; run `make setup` first' in printed
    code, printed = call(tmp_path, source, PATH=path, VENV='gone', SLURM_RESTART_COUNT='1')
    assert code == 1 and 'no data_pipeline in gone/bin as ' in printed and 'failure 1 without progress' in printed
    assert printed.endswith('requeued\n')


def test_only_a_mistake_in_the_configuration_ends_the_job(tmp_path: Path) -> None:
    """Not an import that fails, of a package whose file this node cannot read."""
    (tmp_path / 'yaml.py').write_text('raise ImportError("yaml: Input/output error")')
    script = 'cd "$ROOT" && bash slurm/pretrain.sh "$@"'
    code, printed = call(tmp_path, script, 'steps=2', PYTHONPATH=str(tmp_path), VENV=str(BIN.parent))
    assert code == 1 and 'yaml: Input/output error' in printed and printed.endswith('requeued\n')
    code, printed = call(tmp_path, script, 'stepz=2', VENV=str(BIN.parent))
    assert code == 2 and printed.startswith('error: unknown setting stepz') and 'requeued' not in printed


SRUN = """#!/bin/sh
# An attempt that does $DONE before it is stopped.
[ -z "$DONE" ] || mkdir -p "$DONE"
exit 143
"""


def stopped(folder: Path, done: str, script: str, *arguments: str, **variables: str) -> str:
    """What one of the scripts prints whose command makes the folder `done` before it is stopped."""
    (folder / 'srun').write_text(SRUN)
    (folder / 'srun').chmod(0o755)
    job = {'SLURM_NTASKS': '1', 'SLURM_JOB_NODELIST': 'n0', 'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': '1', 'MAX_STOPS': '2'}
    variables = {**job, 'DONE': done, 'VENV': str(BIN.parent), **variables}
    return call(folder, f'cd "$ROOT" && bash slurm/{script} "$@"', *arguments, **variables)[1]


def test_checkpoints_of_a_fine_tuning_are_its_progress(tmp_path: Path) -> None:
    out = tmp_path / 'the result'
    for folder, place in ((out, [f'--out={out}']), (tmp_path / 'downstream/xvnli/d-finetuned', ['--model', str(tmp_path)])):
        for step in range(1, 4):
            printed = stopped(tmp_path, f'{folder}/checkpoints/step-{step}', 'finetune.sh', 'xvnli', 'finetune', *place)
            assert printed.endswith('requeued\n'), printed
        both = [stopped(tmp_path, '', 'finetune.sh', 'xvnli', 'finetune', *place) for _ in range(2)]
        assert both[0].endswith('requeued\n') and 'giving up: stopped 2 times without progress' in both[1]


def test_units_that_are_done_are_the_progress_of_a_build(tmp_path: Path) -> None:
    scratch = ['--scratch', str(tmp_path / 's'), '--out', 's3://bucket']
    array = {f'SLURM_ARRAY_{name}': '0' for name in ('TASK_ID', 'TASK_MIN', 'TASK_MAX')} | {'SLURM_ARRAY_TASK_COUNT': '1'}
    array |= {'SLURM_ARRAY_JOB_ID': '7', 'SLURM_JOB_PARTITION': 'low'}
    for command in ('squeue', 'sbatch'):
        (tmp_path / command).write_text('#!/bin/sh\necho 8\n')
        (tmp_path / command).chmod(0o755)
    for work, place in ((tmp_path / 'o/.build', ['--out', str(tmp_path / 'o')]), (tmp_path / 's/build-1', scratch)):
        for unit in range(3):
            printed = stopped(tmp_path, f'{work}/opus/build/{unit}', 'build_shards.sh', 'opus', *place, **array)
            assert printed.endswith('requeued\n'), printed
        unfinished = f'{work}/opus/build/.3.part'
        printed = [stopped(tmp_path, unfinished, 'build_shards.sh', 'opus', *place, **array) for _ in range(2)][1]
        assert 'giving up: stopped 2 times without progress' in printed, printed


SBATCH = """#!/bin/sh
for word; do echo "$word"; done >submitted
exit ${REFUSED_MERGE:-0}
"""


@pytest.mark.parametrize('given', [['--scratch', '{}/the scratch'], ['--scratch={}/the scratch'], []])
def test_the_merge_knows_its_corpus_and_where_its_work_is(tmp_path: Path, given: list[str]) -> None:
    array = {f'SLURM_ARRAY_{name}': '0' for name in ('TASK_ID', 'TASK_MIN')} | {'SLURM_ARRAY_TASK_MAX': '1', 'SLURM_ARRAY_TASK_COUNT': '2'}
    array |= {'SLURM_ARRAY_JOB_ID': '7', 'SLURM_JOB_PARTITION': 'low'}
    for command, content in (('squeue', '#!/bin/sh\n'), ('sbatch', SBATCH.replace('>submitted', f'>{tmp_path}/submitted'))):
        (tmp_path / command).write_text(content)
        (tmp_path / command).chmod(0o755)
    words = [word.format(tmp_path) for word in given]
    arguments = ['wit', '--raw', 'r', *words, '--out', 's3://bucket', '--exclude', 'e']
    scratch = ['--scratch', f'{tmp_path}/the scratch'] if given else []
    merge = ['slurm/build_shards.sh', 'finish', '--out', 's3://bucket', '--corpus', 'wit', *scratch]
    printed = stopped(tmp_path, '', 'build_shards.sh', *arguments, **array, REFUSED_MERGE='1')
    hint = f'when all are done: sbatch --array=0 {" ".join(merge)}'.replace('the scratch', 'the\\ scratch')
    assert hint in printed.splitlines()[0], printed
    assert (tmp_path / 'submitted').read_text().splitlines()[-len(merge) :] == merge
    (tmp_path / 'submitted').unlink()
    stopped(tmp_path, '', 'build_shards.sh', *arguments, **array | {'SLURM_ARRAY_TASK_MAX': '0', 'SLURM_ARRAY_TASK_COUNT': '1'})
    assert not (tmp_path / 'submitted').exists(), 'one element merges by itself'
    printed = stopped(tmp_path, '', *merge[0].split('/')[1:], *merge[1:])
    assert f': data_pipeline {" ".join(merge[1:])}\n' in printed


def test_the_corpus_comes_first(tmp_path: Path) -> None:
    assert 'error: the corpus comes first, before --raw\n' in stopped(tmp_path, '', 'build_shards.sh', '--raw', 'r', 'wit', '--out', 'o')


def test_an_element_of_an_array_names_itself(tmp_path: Path) -> None:
    attempt(tmp_path, 137, SLURM_ARRAY_JOB_ID='7', SLURM_ARRAY_TASK_ID='3')
    assert (tmp_path / 'said').read_text() == 'requeue 7_3\n'
