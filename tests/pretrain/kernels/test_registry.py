from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
import torch

from pretrain import kernels
from pretrain.config import Kernels
from pretrain.engine import optimizers
from pretrain.kernels.registry import Place, choose, lacks_module
from shards.errors import UserError

CPU = Place(torch.device('cpu'), 'bf16')


@pytest.fixture(autouse=True)
def plain_again() -> Iterator[None]:
    yield
    kernels.use(Kernels(), CPU)


def test_auto_on_a_cpu_and_on_a_gpu_without_packages() -> None:
    used = kernels.use(Kernels(), CPU)
    assert {used.pop('attention'), used.pop('dropout')} == {'cpu', 'sfc64'}
    assert set(used.values()) == {'torch'}
    gpu = Place(torch.device('cuda'), 'bf16')
    assert all(choose(name, kernels.OPERATIONS[name], 'torch', gpu).name == 'torch' for name in kernels.OPERATIONS)
    assert choose('dropout', kernels.OPERATIONS['dropout'], 'auto', gpu).name == 'torch'
    assert choose('optimizer', optimizers.BACKENDS, 'auto', CPU).name == 'torch'
    assert kernels.fused_token_loss() is None


def test_every_choice_of_the_configuration_exists() -> None:
    for name, field in Kernels.model_fields.items():
        backends = optimizers.BACKENDS if name == 'optimizer' else kernels.OPERATIONS[name]
        assert set(get_args(field.annotation)) == {'auto', *(backend.name for backend in backends)}
        assert all(field.description for field in Kernels.model_fields.values())


@pytest.mark.parametrize(('name', 'backend'), [('norm', 'apex'), ('attention', 'varlen'), ('token_loss', 'triton')])
def test_what_cannot_run_here_is_refused_by_name(name: str, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv('TRITON_INTERPRET', raising=False)
    with pytest.raises(UserError, match=rf'kernels\.{name} = {backend} cannot run here: it needs an NVIDIA GPU.*pretrain doctor'):
        kernels.use(Kernels.model_validate({name: backend}), CPU)


def test_another_program_called_apex_is_not_nvidias(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyPI's apex is a toolkit for web applications: a package of that name without NVIDIA's submodules."""
    folder = tmp_path / 'apex'
    folder.mkdir()
    (folder / '__init__.py').write_text('')
    monkeypatch.syspath_prepend(str(tmp_path))
    gpu = Place(torch.device('cuda'), 'bf16')
    for backend in (*kernels.OPERATIONS['norm'], *kernels.OPERATIONS['gradient_norm'], *optimizers.BACKENDS):
        if backend.name == 'apex':
            assert 'install NVIDIA apex' in (backend.lacks(gpu) or '')


def test_a_module_built_for_another_pytorch_is_no_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / 'broken_kernel.py').write_text('raise OSError("undefined symbol")')
    monkeypatch.syspath_prepend(str(tmp_path))
    assert lacks_module('broken_kernel', 'build it again') == 'broken_kernel cannot be imported (OSError); build it again'
