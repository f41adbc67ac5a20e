"""SIGTERM and SIGUSR1 in training, in an evaluation and in a save: a checkpoint of what is done, the exit code, in bounded time."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from pretrain.engine.checkpoint import checkpoints, newest_valid
from pretrain.records import EVALUATION, EVENTS, METRICS, read_lines
from tests.support.launch import Started, command, prewarmed, steps

pytestmark = [pytest.mark.slow, pytest.mark.launcher]

SETTINGS = [
    'steps=40', 'tasks=[mt, vplm]', 'checkpoint.every=4', 'checkpoint.keep=20', 'eval.every=10', 'eval.samples=64', 'eval.tasks=[mt, vplm]',
    'data.workers=0', 'optimizer={lr: 3e-3, lr_min: 3e-4, warmup: 5}',
]  # fmt: skip
SECONDS = 30  # at most, on a busy machine


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGUSR1], ids=['SIGTERM', 'SIGUSR1'])
def test_a_signal_in_every_phase(home: Path, crash_library: Path, tmp_path: Path, number: signal.Signals) -> None:
    out = tmp_path / 'run'

    def start(**variables: str) -> Started:
        return Started(command(prewarmed(1, LD_PRELOAD=str(crash_library)), home, out, *SETTINGS), tmp_path, **variables)

    def ended(run: Started) -> int:
        """The step that the run ended at, with one checkpoint of it and the signal's exit code."""
        sent = time.monotonic()
        assert run.end() == 128 + number, run.log.read_text()
        assert time.monotonic() - sent < SECONDS
        end = read_lines(out / EVENTS)[-1]
        assert end['event'] == 'end' and end['code'] == 128 + number
        saved = [line['step'] for line in read_lines(out / EVENTS) if line['event'] == 'checkpoint']
        assert saved.count(end['step']) == 1
        assert newest_valid(out / 'checkpoints') == (out / f'checkpoints/step-{end["step"]:07d}', [])
        assert steps(out) == end['step'], 'nothing was trained that is not saved'
        assert f'stopped by {number.name} after step {end["step"]}' in run.log.read_text()
        return int(end['step'])

    # While the first checkpoint is being written: by the writing thread itself, before it syncs the weights.
    variables = {'CRASH_CALL': 'fsync', 'CRASH_PATH': '.staging-step-0000004/weights'}
    assert ended(start(**variables, CRASH_SIGNAL=str(int(number)))) >= 4
    assert checkpoints(out / 'checkpoints')[0].name == 'step-0000004', 'the save in progress was brought to its end'
    # In an evaluation.
    run = start()
    run.wait_for(lambda: steps(out) >= 10)
    os.kill(run.process.pid, number)
    assert ended(run) == 10
    assert [line['step'] for line in read_lines(out / EVALUATION)] == [0], 'the evaluation had ended before'
    # In training.
    run = start()
    run.wait_for(lambda: steps(out) >= 11)
    os.kill(run.process.pid, number)
    last = ended(run)
    assert [line['step'] for line in read_lines(out / METRICS)] == list(range(1, last + 1))
    assert [line['event'] for line in read_lines(out / EVENTS) if line['event'] in ('start', 'resume')] == ['start', 'resume', 'resume']
