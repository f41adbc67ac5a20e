"""What the ranks of test_checkpoint.py do: save, go on, load what others have saved, and refuse what is damaged."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pretrain.config import TASKS, Checkpoint, Config
from pretrain.engine.checkpoint import STATE, check, checkpoints, load_checkpoint, newest_valid, publish
from pretrain.engine.distributed import init_distributed
from pretrain.engine.saver import Saver
from pretrain.engine.step import StepResult, train_step
from pretrain.engine.zero import Engine
from pretrain.model.unix2 import UniX2
from shards.errors import UserError
from tests.support.checkpoints import save_checkpoint
from tests.support.synthetic import VOCABULARY, rank_data, tiny_config

MANIFESTS = {'opus/train/de-en': 'abc'}
RATE = 1e-2


def settings(folder: Path, precision: str) -> Config:
    config = tiny_config(str(folder), precision=precision, checkpoint=Checkpoint(keep=2))
    config.model.dropout = 0.1  # a function of the step: a resumed run must draw the same
    return config


def new_engine(config: Config, seed: int) -> Engine:
    torch.manual_seed(seed)
    return Engine(UniX2(config.model, VOCABULARY), config, None)


def update(engine: Engine, config: Config, step: int) -> StepResult:
    result = train_step(engine, config, rank_data(list(TASKS), engine.rank, engine.world, 2, seed=step), step, RATE)
    assert result is not None
    return result


def state_of(engine: Engine) -> dict[str, Tensor]:
    """Copies of this rank's weights and moments, and of the model that it computes with."""
    state = {f'module.{name}': parameter.detach().clone() for name, parameter in engine.module.named_parameters()}
    for group, piece in enumerate(engine.slices()):
        state |= {f'{group}.master': piece.master.clone(), **{f'{group}.{name}': moment.clone() for name, moment in piece.moments.items()}}
    return state


def assert_equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one), [name for name in one if not torch.equal(one[name], other[name])]


def save_and_resume(folder: str) -> dict[str, Tensor]:
    """At 2 ranks, in both precisions: two updates, a checkpoint, two more; then the last two again, from the checkpoint."""
    init_distributed()
    out: dict[str, Tensor] = {}
    for precision in ('fp32', 'bf16'):
        runs = Path(folder) / precision
        config = settings(runs, precision)
        engine = new_engine(config, 0)
        for step in range(2):
            update(engine, config, step)
            save_checkpoint(engine, runs, step + 1, config, MANIFESTS)
        saved = state_of(engine)
        unbroken = [update(engine, config, step) for step in (2, 3)]
        after = state_of(engine)

        resumed = new_engine(config, 1)
        path, problems = newest_valid(runs)
        assert path is not None and not problems
        assert load_checkpoint(resumed, path)['step'] == 2
        assert_equal(state_of(resumed), saved)
        assert [update(resumed, config, step) for step in (2, 3)] == unbroken  # losses, gradient norm, samples
        assert_equal(state_of(resumed), after)
        out |= {f'{precision}.loss': torch.tensor(unbroken[0].total, dtype=torch.float64)}
    keep_two(engine, runs, config)
    return out


def keep_two(engine: Engine, runs: Path, config: Config) -> None:
    """Retention; a later folder is one that could not be resumed from, and must not push the new ones out."""
    if engine.rank == 0:
        (runs / 'step-0000009').mkdir()
    torch.distributed.barrier()
    save_checkpoint(engine, runs, 4, config, MANIFESTS)
    if engine.rank == 0:
        assert [path.name for path in checkpoints(runs)] == ['step-0000002', 'step-0000004']
        assert (runs / 'latest').read_text() == 'step-0000004\n' and not list(runs.glob('.*'))
        shutil.rmtree(runs / 'step-0000004')
        publish(runs, 'step-0000002')
    torch.distributed.barrier()


def load_alone(folder: str) -> dict[str, Tensor]:
    """At 1 rank: the checkpoint of 2, another model's, and a hostile one."""
    init_distributed()
    out: dict[str, Tensor] = {}
    path = Path(folder) / 'fp32' / 'step-0000002'
    config = settings(Path(folder), 'fp32')
    engine = new_engine(config, 1)
    assert load_checkpoint(engine, path)['step'] == 2
    out |= {name: parameter.detach().clone() for name, parameter in engine.module.named_parameters()}
    out |= {f'{group}.{name}': moment.clone() for group, piece in enumerate(engine.slices()) for name, moment in piece.moments.items()}

    hostile = Path(folder) / 'hostile' / 'step-0000002'
    assert check(hostile) is None  # its hashes are in order
    expect(lambda: load_checkpoint(engine, hostile), 'weights-00001-of-00002.safetensors cannot be read')
    expect(lambda: load_checkpoint(engine, Path(folder) / 'cut' / 'step-0000002'), 'does not hold all of group0.master')

    other = settings(Path(folder), 'fp32')
    other.model.ffn = 48
    name = 'text_encoder.layers.0.fc1.weight'
    expect(lambda: load_checkpoint(new_engine(other, 0), path), f'another model: it has {name} of 32x16 where this one has {name} of 48x16')

    def odd() -> None:
        raise ValueError('nobody has thought of it')

    saver = Saver(engine, Path(folder) / 'odd', config, MANIFESTS, odd)
    saver.save(2, {})
    saved = saver.ended(wait=True)
    assert saved and 'step-0000002 cannot be written (nobody has thought of it)' in str(saved.problem) and not checkpoints(saver.folder)

    spoil_and_warn(engine, Path(folder) / 'warned', config)

    # Before any update was applied, AdamW has no moments: the checkpoint holds zeros.
    fresh = new_engine(config, 3)
    empty = save_checkpoint(fresh, Path(folder) / 'fresh', 1, config, MANIFESTS)
    resumed = new_engine(config, 4)
    assert load_checkpoint(resumed, empty)['step'] == 1
    assert torch.equal(resumed.slices()[0].master, fresh.slices()[0].master) and not resumed.slices()[0].moments['exp_avg'].any()
    return out


def spoil_and_warn(engine: Engine, runs: Path, config: Config) -> None:
    """A state that a disk has spoilt replaces nothing; a checkpoint that cannot be named is one all the same, and saved once."""

    def spoil() -> None:
        path = runs / '.staging-step-0000003' / STATE
        path.write_bytes(path.read_bytes().replace(b'"step": 3', b'"step": 7'))

    def save(step: int, recovery: dict[str, Any], saver: Saver) -> tuple[str | None, str | None]:
        saver.save(step, recovery)
        saved = saver.ended(wait=True)
        assert saved
        return saved.problem, saved.warning

    one = config.model_copy(update={'checkpoint': Checkpoint(keep=1)})
    plain, spoiling = Saver(engine, runs, one, MANIFESTS), Saver(engine, runs, one, MANIFESTS, spoil)
    assert save(1, {}, plain) == (None, None)
    problem, warning = save(3, {}, spoiling)
    assert problem == f'{runs / ".staging-step-0000003" / STATE} does not hold what was written to it; is the disk sound?' and not warning
    assert [path.name for path in checkpoints(runs)] == ['step-0000001'] and not list(runs.glob('.*'))

    master = engine.slices()[0].master
    kept = master[0].clone()
    master[0] = torch.nan
    problem, warning = save(3, {}, plain)
    assert problem and problem.endswith('would hold NaN (group0.master), and is not kept: nothing could be resumed from it')
    assert [path.name for path in checkpoints(runs)] == ['step-0000001'] and not warning
    master[0] = kept

    (runs / '.latest').mkdir()
    problem, warning = save(2, {}, plain)
    assert problem is None and warning == f'{runs / "step-0000002"} is whole, but {runs} cannot be written (Is a directory)'
    made = (runs / 'step-0000002').stat().st_ino
    (runs / '.latest').rmdir()
    assert save(2, {}, plain) == (None, None) and (runs / 'step-0000002').stat().st_ino == made, 'it is as good as before'
    assert save(2, {'skip': [[0, 1]]}, plain) == (None, None) and (runs / 'step-0000002').stat().st_ino != made, 'of other data'
    assert [path.name for path in checkpoints(runs)] == ['step-0000002'] and (runs / 'latest').read_text() == 'step-0000002\n'

    # A stop while updates are skipped: the checkpoint from before them is what the run would go back to.
    assert save(3, {'streak': 1}, plain) == (None, None)
    assert [path.name for path in checkpoints(runs)] == ['step-0000002', 'step-0000003']
    assert save(4, {'streak': 0}, plain) == (None, None)
    assert [path.name for path in checkpoints(runs)] == ['step-0000004']


def expect(call: Callable[[], object], words: str) -> None:
    try:
        call()
    except UserError as error:
        assert words in str(error) and '\n' not in str(error), error
    else:
        raise AssertionError(f'no UserError: {words}')
