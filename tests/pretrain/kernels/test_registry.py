from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from pretrain import kernels
from pretrain.config import Kernels
from pretrain.engine import optimizers
from pretrain.kernels.registry import Place, choose, lacks_module
from pretrain.kernels.token_loss import Segment, row_factors
from shards.errors import UserError

CPU = Place(torch.device('cpu'), 'bf16', 64)


@pytest.fixture(autouse=True)
def plain_again() -> Iterator[None]:
    yield
    kernels.use(Kernels(), CPU)


def test_auto_on_a_cpu_and_on_a_gpu_without_packages() -> None:
    used = kernels.use(Kernels(), CPU)
    assert {used.pop('attention'), used.pop('dropout')} == {'cpu', 'sfc64'}
    assert set(used.values()) == {'torch'}
    gpu = Place(torch.device('cuda'), 'bf16', 64)
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


def test_flash_attention_is_taken_for_heads_that_it_can_compute(monkeypatch: pytest.MonkeyPatch) -> None:
    """On an A100 with both packages; the first forward would fail otherwise."""
    monkeypatch.setattr('torch.cuda.get_device_capability', lambda device: (8, 0))
    module, attention = sys.modules['pretrain.kernels.attention'], kernels.OPERATIONS['attention']

    def taken(head_size: int, name: str = 'auto') -> str:
        return choose('attention', attention, name, Place(torch.device('cuda'), 'bf16', head_size)).name

    monkeypatch.setattr(module, 'lacks_module', lambda module, remedy: remedy if module == 'flash_attn' else None)
    assert [taken(size) for size in (12, 64, 256, 264)] == ['torch', 'varlen', 'varlen', 'torch']
    with pytest.raises(UserError, match=r'kernels\.attention = varlen cannot run here: .*multiple of 8, not 12'):
        taken(12, 'varlen')
    monkeypatch.setattr(module, 'lacks_module', lambda module, remedy: None)
    assert [taken(size) for size in (12, 64, 256, 264)] == ['flash', 'flash', 'flash', 'torch']


def test_another_program_called_apex_is_not_nvidias(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyPI's apex is a toolkit for web applications: a package of that name without NVIDIA's submodules."""
    folder = tmp_path / 'apex'
    folder.mkdir()
    (folder / '__init__.py').write_text('')
    monkeypatch.syspath_prepend(str(tmp_path))
    gpu = Place(torch.device('cuda'), 'bf16', 64)
    for backend in (*kernels.OPERATIONS['norm'], *kernels.OPERATIONS['gradient_norm'], *optimizers.BACKENDS):
        if backend.name == 'apex':
            assert 'install NVIDIA apex' in (backend.lacks(gpu) or '')


def test_a_module_built_for_another_pytorch_is_no_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / 'broken_kernel.py').write_text('raise OSError("undefined symbol")')
    monkeypatch.syspath_prepend(str(tmp_path))
    assert lacks_module('broken_kernel', 'build it again') == 'broken_kernel cannot be imported (OSError); build it again'


def test_factors_are_copied_from_pinned_memory_to_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fake tensors have a device and no numbers."""
    pinned = []

    def pin_memory(factors: torch.Tensor) -> torch.Tensor:
        pinned.append(factors)
        return factors

    monkeypatch.setattr(torch.Tensor, 'pin_memory', pin_memory)
    with FakeTensorMode():
        on_gpu = row_factors([Segment(2, 1.0), Segment(3, 0.5)], torch.device('cuda'))
    assert len(pinned) == 1 and on_gpu.is_cuda and on_gpu.shape == (5,)
    assert row_factors([Segment(2, 1.0), Segment(1, 0.5)], torch.device('cpu')).tolist() == [1, 1, 0.5]
    assert len(pinned) == 1  # pinning memory is an error where there is no GPU
