"""What slurm/lib.sh makes of the exit codes of attempts in a row. Slurm's answers are given here; the other files ask a real one."""
from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.support.launch import BIN, ROOT

SLURM = """#!/bin/sh
case "$1" in
    show) echo "JobState=RUNNING Reason=None StdOut=$PWD/job.log" ;;
    *) echo "$@" >>said ;;
esac
"""
ATTEMPT = """
cd "$ROOT" && VENV=$BIN && source slurm/lib.sh && cd "$FOLDER"
code=$1; shift
: >"$attempt_log"
end_attempt "$@"
"""


def attempt(folder: Path, code: int, *progress: str, **variables: str) -> tuple[int, str]:
    """End an attempt in `folder`; the script's exit code and what it printed."""
    (folder / 'scontrol').write_text(SLURM.replace('$PWD', str(folder)).replace('>>said', f'>>{folder}/said'))
    (folder / 'scontrol').chmod(0o755)
    environment = {
        'PATH': f'{folder}:{BIN}:{os.environ["PATH"]}', 'SLURM_JOB_ID': '7', 'ROOT': str(ROOT), 'BIN': str(BIN.parent),
        'FOLDER': str(folder), **variables,
    }  # fmt: skip
    done = subprocess.run(
        ['bash', '-c', ATTEMPT, 'bash', str(code), *progress], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        check=False,
    )  # fmt: skip
    return done.returncode, done.stdout


def test_stops_without_a_new_checkpoint_are_counted(tmp_path: Path) -> None:
    for _ in range(2):
        code, printed = attempt(tmp_path, 138, 'step-4', 'step-4', MAX_STOPS='3')
        assert code == 138 and printed.endswith('requeued\n'), printed
    code, printed = attempt(tmp_path, 143, 'step-4', 'step-4', MAX_STOPS='3')
    assert code == 143 and 'giving up: stopped 3 times without a new checkpoint; no step fits into the time limit' in printed
    assert (tmp_path / 'said').read_text() == 'requeue 7\n' * 2


def test_a_new_checkpoint_begins_the_count_anew(tmp_path: Path) -> None:
    for step in range(2):
        for after in (step, step + 1):
            assert attempt(tmp_path, 138, f'step-{after}', f'step-{step}', MAX_STOPS='2')[1].endswith('requeued\n')


def test_a_stop_does_not_hide_failures(tmp_path: Path) -> None:
    printed = [attempt(tmp_path, code, 'step-4', 'step-4')[1] for code in (1, 138, 1, 138, 1)]
    assert 'failure 3 without progress' in printed[-1] and 'giving up; the reason is in' in printed[-1]


def test_where_nobody_knows_the_progress_stops_are_not_counted(tmp_path: Path) -> None:
    for _ in range(3):
        assert attempt(tmp_path, 143, MAX_STOPS='2')[1].endswith('requeued\n')


def test_an_element_of_an_array_names_itself(tmp_path: Path) -> None:
    attempt(tmp_path, 137, SLURM_ARRAY_JOB_ID='7', SLURM_ARRAY_TASK_ID='3')
    assert (tmp_path / 'said').read_text() == 'requeue 7_3\n'
