"""Checkpoints: the same bits after a resume, and whole or not there after whatever happened to their files."""

from __future__ import annotations

import hashlib
import json
import pickle
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from pretrain.config import Config
from pretrain.engine.checkpoint import STATE, check, checkpoints, newest_valid, read_state, read_weights, retire
from shards.errors import UserError
from tests.pretrain.engine.checkpoint_ranks import MANIFESTS, load_alone, save_and_resume, settings
from tests.support.distributed import run_distributed


class Hostile:
    """What runs when it is unpickled."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.marker,))


@dataclass(frozen=True)
class Saved:
    folder: Path
    losses: dict[str, Tensor]


@pytest.fixture(scope='module')
def saved(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    """`fp32/` and `bf16/`, each with checkpoints of 2 ranks."""
    folder = tmp_path_factory.mktemp('checkpoints')
    return Saved(folder, run_distributed(save_and_resume, 2, folder, str(folder)))


@pytest.fixture
def runs(saved: Saved, tmp_path: Path) -> Path:
    """A copy with the checkpoints of steps 1 and 2, to be damaged."""
    return Path(shutil.copytree(saved.folder / 'fp32', tmp_path / 'runs'))


def restamp(path: Path, **changes: Any) -> None:
    """Other contents of a state, with the hashes of what now lies there."""
    state = {**read_state(path), **changes}
    for entry in state['files']:
        entry['sha256'] = hashlib.sha256((path / entry['file']).read_bytes()).hexdigest()
    (path / STATE).write_text(json.dumps(state))


@pytest.mark.slow
@pytest.mark.launcher
def test_resume_is_bitwise_at_two_ranks(saved: Saved) -> None:
    """The comparisons are made in the processes themselves; here, that both precisions were there."""
    assert saved.losses['fp32.loss'] != saved.losses['bf16.loss']
    assert abs(saved.losses['fp32.loss'] - saved.losses['bf16.loss']) < 0.1


@pytest.mark.slow
@pytest.mark.launcher
def test_another_number_of_ranks_another_model_and_a_hostile_file(saved: Saved, tmp_path: Path) -> None:
    for name in ('fp32', 'hostile', 'cut'):
        shutil.copytree(saved.folder / 'fp32', tmp_path / name)
    hostile, marker = tmp_path / 'hostile' / 'step-0000002', tmp_path / 'executed'
    (hostile / 'weights-00001-of-00002.safetensors').write_bytes(pickle.dumps(Hostile(marker)))
    restamp(hostile)
    cut = tmp_path / 'cut' / 'step-0000002'
    restamp(cut, files=read_state(cut)['files'][:1])

    got = run_distributed(load_alone, 1, tmp_path, str(tmp_path))
    assert not marker.exists()
    path = saved.folder / 'fp32' / 'step-0000002'
    weights = read_weights(path)
    assert all(torch.equal(got[name], weights[name]) for name in weights)
    files = [load_file(path / entry['file']) for entry in read_state(path)['files']]
    for group in (0, 1):
        for moment in ('exp_avg', 'exp_avg_sq'):
            assert torch.equal(got[f'{group}.{moment}'], torch.cat([file[f'group{group}.{moment}'] for file in files]))
            assert got[f'{group}.{moment}'].any()


@pytest.mark.slow
@pytest.mark.launcher
def test_state_says_what_it_depends_on(saved: Saved) -> None:
    state = read_state(saved.folder / 'bf16' / 'step-0000002')
    assert state['step'] == 2 and state['manifests'] == MANIFESTS
    assert Config.model_validate(state['config']) == settings(saved.folder / 'bf16', 'bf16')
    assert {'python', 'torch', 'deepspeed', 'machine', 'commit', 'command', 'ernie-unix2'} <= state['environment'].keys()
    assert [entry['file'] for entry in state['files']] == [f'weights-0000{rank}-of-00002.safetensors' for rank in range(2)]
    kinds = {path.suffix for path in (saved.folder / 'bf16').rglob('*') if path.is_file()}
    assert kinds == {'.safetensors', '.json', ''}  # `latest` has none


@pytest.mark.slow
@pytest.mark.launcher
@pytest.mark.parametrize('file', ['weights-00000-of-00002.safetensors', 'weights-00001-of-00002.safetensors', STATE])
def test_one_flipped_byte_is_noticed(runs: Path, file: str) -> None:
    path = runs / 'step-0000002' / file
    content = bytearray(path.read_bytes())
    where = content.index(b'"step": 2') + 8 if file == STATE else len(content) // 2
    content[where] ^= 1
    path.write_bytes(content)
    found, problems = newest_valid(runs)
    assert found == runs / 'step-0000001'
    assert len(problems) == 1 and str(path) in problems[0] and 'hash' in problems[0] and '\n' not in problems[0]


def cut_state(path: Path) -> None:
    (path / STATE).write_bytes((path / STATE).read_bytes()[:-20])


DAMAGES: dict[str, Callable[[Path], object]] = {
    'no state': lambda path: (path / STATE).unlink(),
    'half a state': cut_state,
    'a state that is a list': lambda path: (path / STATE).write_text('[]'),
    'a state without contents': lambda path: (path / STATE).write_text('{"files": []}'),
    'no weights': lambda path: (path / 'weights-00001-of-00002.safetensors').unlink(),
    'another format': lambda path: (path / STATE).write_text(json.dumps({**read_state(path), 'format': 2})),
    'odd entries': lambda path: (path / STATE).write_text(json.dumps({**read_state(path), 'files': ['x']})),
    'empty': lambda path: (shutil.rmtree(path), path.mkdir()),  # type: ignore[func-returns-value]
}


@pytest.mark.slow
@pytest.mark.launcher
@pytest.mark.parametrize('damage', DAMAGES)
def test_a_damaged_checkpoint_is_passed_over(runs: Path, damage: str) -> None:
    DAMAGES[damage](runs / 'step-0000002')
    found, problems = newest_valid(runs)
    assert found == runs / 'step-0000001'
    assert len(problems) == 1 and 'step-0000002' in problems[0] and '\n' not in problems[0]
    DAMAGES[damage](runs / 'step-0000001')
    with pytest.raises(UserError, match=r'no checkpoint in .* is valid \(.*step-0000002.*step-0000001.*\); restore one') as caught:
        newest_valid(runs)
    assert '\n' not in str(caught.value)


@pytest.mark.slow
@pytest.mark.launcher
def test_what_is_no_checkpoint_is_not_looked_at(runs: Path) -> None:
    shutil.copytree(runs / 'step-0000002', runs / '.staging-step-0000003')
    (runs / 'step-0000003.part').mkdir()
    (runs / 'step-0000004').write_text('')
    (runs / 'latest').write_text('step-0000009\n')
    assert newest_valid(runs) == (runs / 'step-0000002', [])


@pytest.mark.slow
@pytest.mark.launcher
@pytest.mark.parametrize('elsewhere', ['../step-0000001/weights-00000-of-00002.safetensors', '{absolute}'])
def test_a_strangers_checkpoint_opens_no_file_of_another_folder(runs: Path, elsewhere: str) -> None:
    """One that `pretrain export --model` or `init.model` is given was never resumed from."""
    path = runs / 'step-0000002'
    files = read_state(path)['files']
    files[0]['file'] = elsewhere.format(absolute=runs / 'step-0000001' / files[0]['file'])
    restamp(path, files=files)
    problem = f"{path / STATE} names '{files[0]['file']}', which is not a file of its own folder"
    assert check(path) == problem
    with pytest.raises(UserError, match=re.escape(f'{problem}; use an older checkpoint')):
        read_weights(path)


def test_order_and_absence(tmp_path: Path) -> None:
    assert newest_valid(tmp_path / 'nothing') == (None, [])
    for name in ('step-9999999', 'step-10000000', 'step-0000010'):
        (tmp_path / name).mkdir()
    assert [path.name for path in checkpoints(tmp_path)] == ['step-0000010', 'step-9999999', 'step-10000000']


def test_every_kth_checkpoint_stays_for_ever(tmp_path: Path) -> None:
    for step in range(1, 14):
        (tmp_path / f'step-{step:07d}').mkdir()
    retire(tmp_path, newest=12, keep=2, forever=5)  # that of step 13 was damaged: the run is at 12 again
    assert [path.name for path in checkpoints(tmp_path)] == ['step-0000005', 'step-0000010', 'step-0000011', 'step-0000012']
    retire(tmp_path, newest=12, keep=1, forever=0)
    assert [path.name for path in checkpoints(tmp_path)] == ['step-0000012']
