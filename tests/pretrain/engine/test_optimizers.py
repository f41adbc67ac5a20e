"""What an optimizer that must be compiled lacks here."""

from __future__ import annotations

import pytest
import torch

from pretrain.engine.optimizers import BACKENDS
from pretrain.kernels.registry import Place


def test_deepspeeds_wants_the_headers_of_python(monkeypatch: pytest.MonkeyPatch) -> None:
    deepspeed = next(backend for backend in BACKENDS if backend.name == 'deepspeed')
    monkeypatch.setattr('sysconfig.get_paths', lambda: {'include': '/nowhere'})
    assert 'python3-dev' in (deepspeed.lacks(Place(torch.device('cpu'), 'bf16')) or '')
