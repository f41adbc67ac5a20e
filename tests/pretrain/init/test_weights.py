"""Reading published checkpoints: every form they come in, nothing executed, and one clear line for what cannot be read."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from pretrain.init.weights import Weights, open_weights
from shards.errors import UserError

STATE = {'a.weight': torch.arange(6.0).view(2, 3).half(), 'b': torch.ones(2), 'c': torch.zeros(1)}


def folder_with(folder: Path, **files: Any) -> Path:
    folder.mkdir()
    (folder / 'config.json').write_text(json.dumps({'model_type': 'mbart'}))
    return folder


def check(weights: Weights, form: str) -> None:
    assert weights.config == {'model_type': 'mbart'} and weights.format == form
    assert weights.shapes == {name: tuple(tensor.shape) for name, tensor in STATE.items()}
    for name, tensor in STATE.items():
        assert weights[name].dtype == torch.float32 and torch.equal(weights[name], tensor.float())


def refusal(where: Path | str) -> str:
    with pytest.raises(UserError) as caught:
        open_weights('init.text', str(where))
    assert str(caught.value).startswith(f'init.text = {where}: ') and '\n' not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize('zipped', [True, False])
def test_pickled_tensors(tmp_path: Path, zipped: bool) -> None:
    """Both layouts of pytorch_model.bin: mBART-cc25's is the older."""
    folder = folder_with(tmp_path / 'model')
    torch.save(STATE, folder / 'pytorch_model.bin', _use_new_zipfile_serialization=zipped)
    check(open_weights('init.text', str(folder)), 'bin')


def test_safetensors_is_preferred(tmp_path: Path) -> None:
    folder = folder_with(tmp_path / 'model')
    (folder / 'pytorch_model.bin').write_bytes(b'never opened')
    save_file(STATE, folder / 'model.safetensors')
    check(open_weights('init.text', str(folder)), 'safetensors')


@pytest.mark.parametrize('form', ['safetensors', 'bin'])
def test_several_files(tmp_path: Path, form: str) -> None:
    folder = folder_with(tmp_path / 'model')
    name = {'safetensors': 'model.safetensors', 'bin': 'pytorch_model.bin'}[form]
    parts = {'part-1': ['a.weight'], 'part-2': ['b', 'c']}
    for part, keys in parts.items():
        state = {key: STATE[key] for key in keys}
        save_file(state, folder / f'{part}.{form}') if form == 'safetensors' else torch.save(state, folder / f'{part}.{form}')
    index = {key: f'{part}.{form}' for part, keys in parts.items() for key in keys}
    (folder / f'{name}.index.json').write_text(json.dumps({'weight_map': index}))
    check(open_weights('init.text', str(folder)), form)
    (folder / f'part-2.{form}').unlink()
    assert f'part-2.{form}, which {name}.index.json names, is missing' in refusal(folder)
    (folder / f'{name}.index.json').write_text(json.dumps({'weight_map': {'b': f'../secret.{form}'}}))
    assert f"names the file '../secret.{form}', which is no file of weights" in refusal(folder)


class Hostile:
    """What an unrestricted pickle would execute."""

    def __init__(self, command: str):
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


@pytest.mark.parametrize('zipped', [True, False])
def test_a_hostile_file_executes_nothing(tmp_path: Path, zipped: bool) -> None:
    folder, marker = folder_with(tmp_path / 'model'), tmp_path / 'executed'
    torch.save({**STATE, 'd': Hostile(f'touch {marker}')}, folder / 'pytorch_model.bin', _use_new_zipfile_serialization=zipped)
    assert 'pytorch_model.bin cannot be read as plain tensors' in refusal(folder)
    assert not marker.exists()
    torch.load(folder / 'pytorch_model.bin', weights_only=False)
    assert marker.exists(), 'the file was no danger at all'


def test_what_cannot_be_read(tmp_path: Path) -> None:
    assert 'there is no such folder' in refusal(tmp_path / 'nothing')
    empty = tmp_path / 'empty'
    empty.mkdir()
    assert 'it has no config.json' in refusal(empty)
    (empty / 'config.json').write_text('{')
    assert 'config.json cannot be read' in refusal(empty)
    (empty / 'config.json').write_text('[]')
    assert 'config.json is not a mapping' in refusal(empty)
    (empty / 'config.json').write_text('{}')
    assert 'it has neither model.safetensors nor pytorch_model.bin' in refusal(empty)
    save_file(STATE, empty / 'whole')
    (empty / 'model.safetensors').write_bytes((empty / 'whole').read_bytes()[:-4])
    assert 'model.safetensors cannot be read' in refusal(empty) and 'not whole' in refusal(empty)
    (empty / 'model.safetensors').unlink()
    (empty / 'pytorch_model.bin').write_bytes(b'\x80\x02}q\x00')
    assert 'cannot be read as plain tensors' in refusal(empty)
    torch.save([1, 2], empty / 'pytorch_model.bin')
    assert 'pytorch_model.bin is not a mapping of names to tensors' in refusal(empty)
