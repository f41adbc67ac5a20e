"""A run in which, on one of two ranks, the loss is NaN, then NaN three times in a row, then jumps; which is slow, has data late, and at
last hangs. And what hangs or is asked to stop elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from pretrain.config import load_config
from pretrain.data.loader import StepBatches
from pretrain.data.order import data_step
from pretrain.engine.checkpoint import checkpoints, newest_valid, read_state
from pretrain.engine.launcher import command_line
from pretrain.engine.watchdog import EXIT_HUNG
from pretrain.records import EVENTS, METRICS, read_lines
from shards.tokenizer import Tokenizer
from tests.support.distributed import alone
from tests.support.launch import (
    Started,
    command,
    descendants,
    forked,
    loaders_below,
    prewarmed,
    reproducible,
    steps,
    wait_for_group,
)

pytestmark = [pytest.mark.slow, pytest.mark.launcher]

FAULTS = {'rank': 1, 'nan': [5, 9, 10, 11], 'spike': [29], 'hang': 33, 'slow': [0, 24, 0.5], 'late': [27, 1.0]}
WINDOW = (8, 12)  # of data, passed over: from the checkpoint of step 8 to the last NaN of three in a row
SPIKED = 29 - 4 + 1  # updates after which the jump comes
LATE = 27 - 4 + 1  # the update whose data one rank has late


@dataclass(frozen=True)
class Ended:
    out: Path
    code: int
    log: str
    events: list[dict[str, Any]]
    metrics: dict[int, dict[str, Any]]

    def faults(self, words: str) -> list[dict[str, Any]]:
        return [line for line in self.events if line['event'] == 'fault' and words in line['problem']]


@pytest.fixture(scope='module')
def ended(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Ended:
    return train(home, tmp_path_factory.mktemp('faulty') / 'run', FAULTS)


SETTINGS = [
    'steps=40', 'tasks=[plm, mt]', 'checkpoint.every=4', 'recovery.margin=3', 'watchdog={hang: 20, slow: 1.5}', 'data.workers=0',
    'eval.tasks=[mt]',
]  # fmt: skip


FAULTY = Path(__file__).with_name('faulty.py')


def train(home: Path, out: Path, faults: dict[str, Any]) -> Ended:
    arguments = command(prewarmed(2), home, out, *SETTINGS, script=FAULTY)
    started = Started(arguments, out.parent, FAULTS=json.dumps(faults))
    code = started.end()
    metrics = {line['step']: line for line in read_lines(out / METRICS)}
    return Ended(out, code, started.log.read_text(), read_lines(out / EVENTS), metrics)


def test_all_ranks_skip_a_nan_of_one(ended: Ended) -> None:
    assert [step for step, line in ended.metrics.items() if line['skipped']] == [6, SPIKED]
    (fault,) = [line for line in ended.faults('the loss of plm is not finite') if line['step'] == 6]
    assert 'the update was skipped' in fault['problem']
    assert 'step 6: the update was skipped, the loss of plm is not finite' in ended.log


def test_after_three_in_a_row_it_goes_back_and_passes_over_the_data(ended: Ended, home: Path) -> None:
    (rollback,) = [line for line in ended.events if line['event'] == 'rollback']
    assert (rollback['step'], rollback['last'], tuple(rollback['skip'])) == (8, 12, WINDOW)
    assert 'batches 8 to 11 of the data are passed over' in ended.log
    state = read_state(newest_valid(ended.out / 'checkpoints')[0] or Path())
    assert state['step'] >= 28 and [tuple(window) for window in state['recovery']['skip']] == [WINDOW]
    assert state['recovery']['skipped'] == 5
    config = load_config(ended.out / 'config.yaml')
    batches = StepBatches(config, Tokenizer.load(Path(config.data.tokenizer)), skip=[WINDOW], rank=0, world=1)
    for step in (7, 8, 9):  # update 8 took the data of step 7, update 9 that of step 12
        assert ended.metrics[step + 1]['samples'] == samples(batches, step)
    assert batches.step_data(8)['plm'][0].sample_ids.tolist() == plain(config, 12)


def plain(config: Any, step: int) -> list[int]:
    """Sample ids of plm's first micro-batch of a step of data, nothing being passed over."""
    batches = StepBatches(config, Tokenizer.load(Path(config.data.tokenizer)), rank=0, world=1)
    return batches.step_data(step)['plm'][0].sample_ids.tolist()


def samples(batches: StepBatches, step: int) -> str:
    """What metrics.jsonl says of the global batches of a step."""
    digest = hashlib.sha256()
    for parts in batches.step_data(step).values():
        digest.update(torch.cat([batch.sample_ids for batch in parts]).numpy().tobytes())
    return digest.hexdigest()[:16]


def test_lines_of_what_was_undone_are_kept_aside(ended: Ended) -> None:
    (aside,) = ended.out.glob('metrics.attempt-*.jsonl')
    undone = [json.loads(line) for line in aside.read_text().splitlines()]
    assert [line['step'] for line in undone] == [9, 10, 11, 12] and [line['skipped'] for line in undone] == [False, True, True, True]
    assert undone[0]['samples'] != ended.metrics[9]['samples']


def test_a_jump_of_the_loss_is_skipped(ended: Ended) -> None:
    line = ended.metrics[SPIKED]
    assert line['skipped'] and line['loss']['total'] > ended.metrics[SPIKED - 1]['loss']['total'] + 5
    assert ended.faults('the loss jumped by')[0]['step'] == SPIKED
    assert ended.metrics[SPIKED + 1]['loss']['total'] < ended.metrics[1]['loss']['total'], 'the weights have not suffered'


def test_the_slow_rank_is_named(ended: Ended) -> None:
    found = ended.faults('is slow')
    assert found and all(line['problem'].startswith('rank 1 on ') for line in found)
    assert found[0]['problem'] in ended.log


def test_data_that_another_rank_waited_for_is_told(ended: Ended) -> None:
    """Rank 0, which writes the lines, had its own in time, and waited for the other."""
    line = ended.metrics[LATE]
    assert 1.0 <= line['data_wait'] * line['seconds'] <= line['seconds']


def test_the_rank_that_hangs_is_named_with_every_stack(ended: Ended) -> None:
    assert ended.code == EXIT_HUNG
    (fault,) = ended.faults('holds the run up')
    assert fault['problem'].startswith('rank 1 on ') and 'in plm of step 30 for ' in fault['problem'] and 'rank 0' not in fault['problem']
    assert 'rank 1 on ' in ended.log and 'stands still in plm of step 30' in ended.log and 'time.sleep(10_000)' in ended.log
    assert 'rank 0 on ' in ended.log and 'waits for other ranks in mt of step 30' in ended.log and 'all_reduce' in ended.log
    assert ended.events[-1] == fault, 'it did not end by itself'


def test_a_run_that_went_back_resumes_as_one_that_went_through(
    ended: Ended, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same data, losses and weights after the window, whether or not the run was started again behind it."""
    out = Path(shutil.copytree(ended.out, tmp_path / 'resumed'))
    forked(2, home, out, *SETTINGS)
    assert [line['step'] for line in read_lines(out / EVENTS) if line['event'] == 'resume'] == [28]
    monkeypatch.setenv('FAULTS', json.dumps({**FAULTS, 'hang': -1, 'slow': [0, 0, 0]}))
    forked(2, home, tmp_path / 'through', *SETTINGS, script=FAULTY)
    resumed, through = ({line['step']: line for line in read_lines(folder / METRICS)} for folder in (out, tmp_path / 'through'))
    assert list(resumed) == list(through) == list(range(1, 41))
    for step in range(1, 41):
        assert reproducible(resumed[step]) == reproducible(through[step]), step
    config = load_config(out / 'config.yaml')
    batches = StepBatches(config, Tokenizer.load(Path(config.data.tokenizer)), rank=0, world=1)
    for step in range(29, 41):
        assert data_step(step - 1, [WINDOW]) == step + 3
        assert resumed[step]['samples'] == samples(batches, step + 3), step
    states = [read_state(folder / 'checkpoints/step-0000040') for folder in (out, tmp_path / 'through')]
    assert [entry['sha256'] for entry in states[0]['files']] == [entry['sha256'] for entry in states[1]['files']]
    assert states[0]['recovery'] == states[1]['recovery']


def test_a_gpu_that_is_too_small_is_a_line_with_a_remedy(home: Path, tmp_path: Path) -> None:
    """In the middle of a run, as PyTorch says it: what was saved before stays, and one line says what to do."""
    faults = {'rank': 0, 'nan': [], 'spike': [], 'hang': -1, 'slow': [0, 0, 0], 'memory': 5}
    out = tmp_path / 'run'
    started = Started(command(prewarmed(1), home, out, *SETTINGS, script=FAULTY), tmp_path, FAULTS=json.dumps(faults))
    assert started.end() == 2
    printed = started.log.read_text()
    (error,) = [line for line in printed.splitlines() if line.startswith('error:')]
    assert 'CUDA out of memory. Tried to allocate 2.00 GiB; lower batch.micro, or set model.recompute=true' in error
    assert 'Traceback' not in printed and 'reserved' not in printed
    assert [path.name for path in checkpoints(out / 'checkpoints')] == ['step-0000004']


def hung(home: Path, crash_library: Path, out: Path, call: str, path: str, count: int) -> Ended:
    """Of two ranks, one hangs at a file operation."""
    variables = {'CRASH_CALL': call, 'CRASH_PATH': path, 'CRASH_COUNT': str(count), 'CRASH_SLEEP': '10000'}
    settings = ['steps=8', 'tasks=[mt]', 'eval.tasks=[mt]', 'checkpoint.every=4', 'watchdog.hang=15', 'data.workers=0']
    started = Started(command(prewarmed(2, LD_PRELOAD=str(crash_library)), home, out, *settings), out.parent, **variables)
    code = started.end()
    assert code == EXIT_HUNG, started.log.read_text()
    return Ended(out, code, started.log.read_text(), read_lines(out / EVENTS), {})


def test_a_save_that_hangs_is_blamed_on_its_rank_with_the_stack_of_its_thread(home: Path, crash_library: Path, tmp_path: Path) -> None:
    ended = hung(home, crash_library, tmp_path / 'run', 'fsync', '.staging-step-0000004/weights-00001', 1)
    (fault,) = ended.faults('holds the run up')
    problem = fault['problem']
    assert problem.startswith('rank 1 on ') and 'in writing a checkpoint for ' in problem and 'rank 0' not in problem
    assert 'and of its thread that writes a checkpoint:' in ended.log and 'os.fsync(handle)' in ended.log and '_write_mine' in ended.log


def test_a_start_that_hangs_is_ended_too(home: Path, crash_library: Path, tmp_path: Path) -> None:
    ended = hung(home, crash_library, tmp_path / 'run', 'rename', 'config.yaml', 1)
    (fault,) = ended.faults('holds the run up')
    problem = fault['problem']
    assert problem.startswith('rank 0 on ') and 'in opening the records for ' in problem and 'rank 1' not in problem


def test_records_that_hang_do_not_keep_the_verdict_back(home: Path, crash_library: Path, tmp_path: Path) -> None:
    """Rank 0 hangs in writing its second event, with the lock of the file that the verdict is to go to."""
    ended = hung(home, crash_library, tmp_path / 'run', 'write', 'events.jsonl', 2)
    assert not ended.faults('holds the run up')
    verdict = next(line for line in ended.log.splitlines() if 'holds the run up, in' in line)
    assert 'rank 0 on ' in verdict and 'rank 1' not in verdict


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGUSR1], ids=['SIGTERM', 'SIGUSR1'])
def test_a_signal_to_every_process_of_the_group(home: Path, tmp_path: Path, number: signal.Signals) -> None:
    """As schedulers send it: loader processes, their fork server and resource tracker get it too."""
    out = tmp_path / 'run'
    settings = ['steps=100000', 'tasks=[mt]', 'eval.tasks=[mt]', 'data.workers=2']
    started = Started(command(alone(), home, out, *settings), tmp_path)
    started.wait_for(lambda: steps(out) >= 3)
    group = started.group()
    below = [command_line(process) for process in descendants(group) if os.getpgid(process) == group]
    assert len(loaders_below(group)) == 2 and sum('resource_tracker' in line for line in below) == 1 and len(below) == 4
    os.killpg(group, number)
    assert started.end() == 128 + number
    wait_for_group(group)
    printed = started.log.read_text()
    assert 'Traceback' not in printed and 'resource_tracker' not in printed, printed
    assert f'stopped by {number.name} after step {steps(out)}' in printed
    assert newest_valid(out / 'checkpoints')[0] == out / f'checkpoints/step-{steps(out):07d}'
