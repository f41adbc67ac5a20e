"""What an optimizer that must be compiled lacks here; where a resumed one keeps its count on a GPU, which this machine need not have."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from pretrain.config import Optimizer
from pretrain.engine.optimizers import BACKENDS, plain, set_updates
from pretrain.kernels.registry import Place


def test_deepspeeds_wants_the_headers_of_python(monkeypatch: pytest.MonkeyPatch) -> None:
    deepspeed = next(backend for backend in BACKENDS if backend.name == 'deepspeed')
    monkeypatch.setattr('sysconfig.get_paths', lambda: {'include': '/nowhere'})
    assert 'python3-dev' in (deepspeed.lacks(Place(torch.device('cpu'), 'bf16', 64)) or '')


def test_a_resumed_count_lies_where_pytorch_puts_its_own() -> None:
    """Beside weights on a GPU: PyTorch's fused kernel refuses a count on the host. Fake tensors have a device and no numbers."""

    def started(resumed: bool) -> Tensor:
        parameter = nn.Parameter(torch.empty(3, device='cuda'))
        parameter.grad = torch.empty_like(parameter)
        optimizer = plain([{'params': [parameter]}], Optimizer())
        if resumed:  # as Engine.load_slices does after a start, when there is no state yet
            set_updates(optimizer, parameter, 3)
            optimizer.state[parameter] |= {name: torch.zeros_like(parameter) for name in ('exp_avg', 'exp_avg_sq')}
        optimizer.step()
        count: Tensor = optimizer.state[parameter]['step']
        return count

    with FakeTensorMode():
        own, resumed = started(False), started(True)
    assert own.device.type == 'cuda'
    assert (resumed.device, resumed.dtype, resumed.shape) == (own.device, own.dtype, own.shape)
