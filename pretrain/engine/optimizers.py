"""AdamW by different backends, and the count of its updates, which each of them keeps elsewhere."""

from __future__ import annotations

import importlib
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pretrain.config import Optimizer
from pretrain.engine.host import remove_stale_build_locks
from pretrain.kernels.norm import APEX
from pretrain.kernels.registry import Backend, Place, anywhere, lacks_cuda, lacks_module

AdamW = Callable[[list[dict[str, Any]], Optimizer], torch.optim.Optimizer]


def plain(groups: list[dict[str, Any]], options: Optimizer) -> torch.optim.Optimizer:
    return torch.optim.AdamW(groups, lr=options.lr, betas=options.betas, eps=options.eps, fused=True)


def _fused_adam(module: str) -> AdamW:
    """NVIDIA's FusedAdam, or DeepSpeed's copy of it."""

    def build(groups: list[dict[str, Any]], options: Optimizer) -> torch.optim.Optimizer:
        if module.startswith('deepspeed'):
            remove_stale_build_locks()
        fused: Any = importlib.import_module(module).FusedAdam
        optimizer: torch.optim.Optimizer = fused(groups, lr=options.lr, betas=options.betas, eps=options.eps, adam_w_mode=True)
        return optimizer

    return build


def _lacks_apex(place: Place) -> str | None:
    return lacks_cuda(place) or lacks_module('apex.optimizers', APEX) or lacks_module('amp_C', APEX)


def _lacks_deepspeed(place: Place) -> str | None:
    """DeepSpeed compiles it when it is first built, for GPUs and CPUs."""
    if not Path(sysconfig.get_paths()['include'], 'Python.h').exists():
        return 'this Python has no headers, which it is compiled with (Debian: apt-get install python3-dev)'
    from deepspeed.accelerator import get_accelerator

    builder: Any = get_accelerator().create_op_builder('FusedAdamBuilder')
    if builder is None or not builder.is_compatible(verbose=False):
        return 'DeepSpeed cannot compile it here; `ds_report` says what is missing'
    return None


BACKENDS = [
    Backend('apex', _lacks_apex, lambda: _fused_adam('apex.optimizers')),
    Backend('torch', anywhere, lambda: plain),
    Backend('deepspeed', _lacks_deepspeed, lambda: _fused_adam('deepspeed.ops.adam'), automatic=False),  # compiles for about a minute
]


def updates(optimizer: torch.optim.Optimizer) -> int:
    """Updates that AdamW has applied: one that was skipped, as a gradient was not finite, does not count for its bias correction."""
    counts = [state['step'] for state in optimizer.state.values() if 'step' in state]
    counts += [group['step'] for group in optimizer.param_groups if 'step' in group]  # apex
    return max((int(count) for count in counts), default=0)


def set_updates(optimizer: torch.optim.Optimizer, parameter: Tensor, count: int) -> None:
    """Continue after `count` updates of `parameter`, wherever this optimizer looks for the count."""
    state = optimizer.state[parameter]
    if isinstance(optimizer, torch.optim.AdamW):
        # Beside the weights, where `fused` makes it itself and its kernel wants it: after a start there is no state yet to take it from.
        state['step'] = torch.tensor(float(count), dtype=torch.float32, device=parameter.device)
        return
    state['step'] = count  # DeepSpeed
    for group in optimizer.param_groups:
        if any(member is parameter for member in group['params']):
            group['step'] = count  # apex
