"""A run that is killed, preempted and damaged in many ways ends bitwise as one that was left alone: bf16, ZeRO-2, two ranks, loader
processes, more than one epoch of some streams.
"""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from pretrain.config import load_config
from pretrain.data.order import TaskOrder
from pretrain.data.streams import Catalog
from pretrain.engine.checkpoint import LATEST, STATE, checkpoints, newest_valid
from pretrain.records import EVALUATION, EVENTS, METRICS, read_lines
from shards.tokenizer import Tokenizer
from tests.support.launch import Started, command, deepspeed, forked, launched, prewarmed, reproducible, steps

pytestmark = [pytest.mark.slow, pytest.mark.launcher]

STEPS = 20
# A contrastive task and one whose loss is a sum have two micro-batches a rank.
SETTINGS = [
    f'steps={STEPS}', 'checkpoint.every=4', 'eval.every=10', 'eval.samples=64',
    'batch={global: 8, micro: 4, tasks: {cmcl: 16, mmmt: 16}}', 'optimizer={lr: 3e-3, lr_min: 3e-4, warmup: 5}',
]  # fmt: skip
SHM = Path('/dev/shm')
STOPPING = 60  # seconds from a signal to the last process's end, on a busy machine: a step's task, an evaluation's batch and a save


def events(out: Path, *names: str) -> list[dict[str, Any]]:
    return [line for line in read_lines(out / EVENTS) if line['event'] in names] if (out / EVENTS).exists() else []


@pytest.fixture(scope='module')
def unbroken(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Without a launcher, and without loader processes."""
    out = tmp_path_factory.mktemp('unbroken') / 'run'
    forked(2, home, out, *SETTINGS, 'data.workers=0')
    return out


@dataclass
class Chain:
    """One run in four starts. What each left is noted while it is there."""

    out: Path
    notes: dict[str, Any] = field(default_factory=dict)

    def start(self, home: Path, launcher: list[str], workers: int = 1, crash: dict[str, str] | None = None) -> Started:
        return Started(command(launcher, home, self.out, *SETTINGS, f'data.workers={workers}'), self.out.parent, **(crash or {}))

    def newest(self) -> str:
        return checkpoints(self.out / 'checkpoints')[-1].name


def runs(process: str) -> bool:
    return Path(f'/proc/{process}').exists()


@pytest.fixture(scope='module')
def chain(home: Path, crash_library: Path, tmp_path_factory: pytest.TempPathFactory) -> Chain:
    chain = Chain(tmp_path_factory.mktemp('chain') / 'run')
    folder = chain.out / 'checkpoints'

    # SIGKILL to everything while rank 1 syncs its file of the second checkpoint. Its shared memory stays there, by names with a process id:
    # joblib, which the fork server of the tests has imported, renames multiprocessing's. (Of a launcher, which dies as well, nothing would
    # stay.)
    before = {path.name for path in SHM.iterdir()}
    crash = {'CRASH_CALL': 'fsync', 'CRASH_PATH': '.staging-step-0000008/weights-00001'}
    chain.notes['killed'] = chain.start(home, prewarmed(2, LD_PRELOAD=str(crash_library)), crash=crash).end()
    chain.notes['shm'] = [path for path in SHM.glob('sem.loky-*') if path.name not in before and not runs(path.name.split('-')[1])]
    chain.notes['left'] = chain.newest(), (folder / '.staging-step-0000008').is_dir(), (folder / LATEST).read_text()

    # SIGUSR1 to one rank during an evaluation; the launcher passes its exit code on.
    second = chain.start(home, launched(2, chain.out.parent / 'venv'))
    second.wait_for(lambda: steps(chain.out) >= 10)
    sent = time.monotonic()
    os.kill(second.ranks()[1], signal.SIGUSR1)
    chain.notes['usr1'] = second.end()
    chain.notes['usr1 seconds'] = time.monotonic() - sent
    chain.notes['usr1 left'] = chain.newest()
    chain.notes['usr1 evaluated'] = [line['step'] for line in read_lines(chain.out / EVALUATION)]

    # A loader process dies; then the `deepspeed` command alone is told to end, while a checkpoint is being written.
    third = chain.start(home, deepspeed(2))
    third.wait_for(lambda: steps(chain.out) >= 11 and bool(third.loaders()))
    os.kill(third.loaders()[0], signal.SIGKILL)
    third.wait_for(lambda: (folder / '.staging-step-0000012').exists() or (folder / 'step-0000012').exists())
    chain.notes['saving'] = (folder / '.staging-step-0000012').exists()
    sent = time.monotonic()
    third.process.terminate()
    third.end()
    chain.notes['launcher seconds'] = time.monotonic() - sent
    chain.notes['launcher'] = end = events(chain.out, 'end')[-1]
    chain.notes['saves'] = [line['step'] for line in events(chain.out, 'checkpoint')].count(end['step'])
    chain.notes['log'] = third.log.read_text()

    # One flipped byte in the newest checkpoint.
    damaged = folder / chain.newest() / 'weights-00001-of-00002.safetensors'
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    chain.notes['damaged'] = damaged.parent.name
    last = chain.start(home, prewarmed(2), workers=0)
    chain.notes['finished'] = last.end()
    chain.notes['last log'] = last.log.read_text()
    return chain


def test_losses_rates_and_samples_are_the_same_bits(unbroken: Path, chain: Chain) -> None:
    assert chain.notes['finished'] == 0, chain.notes['last log']
    ours, theirs = ([reproducible(line) for line in read_lines(out / METRICS)] for out in (chain.out, unbroken))
    assert [line['step'] for line in theirs] == list(range(1, STEPS + 1))
    assert ours == theirs
    rates = [line['lr'] for line in theirs]
    assert rates[:5] == sorted(rates[:5]) and rates[5:] == sorted(rates[5:], reverse=True) and len(set(rates)) > 15, 'warm-up and cosine'
    assert read_lines(chain.out / EVALUATION) == read_lines(unbroken / EVALUATION)


def test_parameters_and_moments_are_the_same_bits(unbroken: Path, chain: Chain) -> None:
    name = f'checkpoints/step-{STEPS:07d}'
    files = sorted(path.name for path in (unbroken / name).iterdir() if path.name != STATE)
    assert len(files) == 2
    for file in files:
        ours, theirs = load_file(chain.out / name / file), load_file(unbroken / name / file)
        assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_the_run_is_longer_than_an_epoch(unbroken: Path) -> None:
    config = load_config(unbroken / 'config.yaml')
    order = TaskOrder(config, Catalog(config.data.shards, Tokenizer.load(Path(config.data.tokenizer))), 'mmmt')
    assert {located.epoch for located in list(order.batch(STEPS - 1))} >= {1}


def test_killed_while_saving_it_goes_on_from_the_checkpoint_before(chain: Chain) -> None:
    assert chain.notes['killed'] == -signal.SIGKILL
    assert chain.notes['left'] == ('step-0000004', True, 'step-0000004\n')
    assert [line['step'] for line in events(chain.out, 'start', 'resume')][:2] == [0, 4]


def test_a_signal_in_an_evaluation_ends_it_with_one_checkpoint(chain: Chain) -> None:
    assert chain.notes['usr1'] == 128 + signal.SIGUSR1
    assert chain.notes['usr1 left'] == 'step-0000010'
    assert chain.notes['usr1 evaluated'] == [0], 'the evaluation had ended before'
    assert events(chain.out, 'end')[0]['step'] == 10 and events(chain.out, 'end')[0]['code'] == 128 + signal.SIGUSR1
    assert [line['step'] for line in events(chain.out, 'checkpoint')].count(10) == 1
    assert chain.notes['usr1 seconds'] < STOPPING


def test_a_killed_loader_process_is_survived(chain: Chain) -> None:
    (fault,) = [line for line in events(chain.out, 'fault') if 'a loader process was killed' in line['problem']]
    assert fault['problem'] in chain.notes['log']


def test_the_death_of_the_launcher_ends_the_run_with_its_checkpoint(chain: Chain) -> None:
    assert chain.notes['saving'], 'the signal came too late'
    end = chain.notes['launcher']
    assert end['code'] == 128 + signal.SIGTERM and end['step'] >= 12
    assert chain.notes['damaged'] == f'step-{end["step"]:07d}'
    assert chain.notes['saves'] == 1
    assert chain.notes['launcher seconds'] < STOPPING


def test_a_flipped_byte_is_named_and_the_checkpoint_before_is_used(chain: Chain) -> None:
    (fault,) = [line for line in events(chain.out, 'fault') if 'does not have the hash' in line['problem']]
    assert chain.notes['damaged'] in fault['problem'] and f'skipped a damaged checkpoint: {fault["problem"]}' in chain.notes['last log']
    assert events(chain.out, 'resume')[-1]['step'] < events(chain.out, 'end')[-2]['step']


def test_a_resumed_run_is_told_from_a_restarted_one(chain: Chain) -> None:
    assert [line['event'] for line in events(chain.out, 'start', 'resume')] == ['start', 'resume', 'resume', 'resume']


def test_what_a_kill_leaves_in_shared_memory_hinders_no_start(chain: Chain) -> None:
    """Three starts came after it, two with loader processes of their own."""
    assert chain.notes['shm'], 'it left nothing: this tests nothing'
    assert chain.notes['finished'] == 0
    for path in chain.notes['shm']:
        path.unlink(missing_ok=True)


def test_leftovers_are_gone(chain: Chain) -> None:
    folder = chain.out / 'checkpoints'
    assert not [path for path in folder.iterdir() if path.name.startswith('.')]
    assert newest_valid(folder)[0] == folder / f'step-{STEPS:07d}'
