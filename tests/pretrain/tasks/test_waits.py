"""A forward and its backward wait for no GPU: what goes to it is copied beside what it computes, and nothing comes back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from pretrain import kernels
from pretrain.config import TASKS, Kernels
from pretrain.engine.known_pairs import with_known_pairs
from pretrain.kernels.registry import Place
from pretrain.model.packed import Layout, sent
from pretrain.model.unix2 import UniX2
from pretrain.tasks import SUMMED
from pretrain.tasks.forward import forward
from tests.support.synthetic import LABELS, VOCABULARY, task_batch, tiny_config

EVERY = (*TASKS, 'vtlm', 'entailment', 'answering')


class Watched(TorchFunctionMode):
    """Refuses what would wait for the device `meta`, which has no contents either: blocking copies to it."""

    calls = 0

    def __torch_function__(self, function: Callable[..., Any], types: Any, arguments: Any = (), named: Any = None) -> Any:
        named = named or {}
        self.calls += 1
        made = function in (torch.tensor, torch.as_tensor) and torch.device(named.get('device') or 'cpu').type == 'meta'
        assert not made, 'torch.tensor copies from memory that is not pinned, and waits'
        out = function(*arguments, **named)
        if function is Tensor.to and arguments[0].device.type == 'cpu' and out.device.type == 'meta':
            assert named.get('non_blocking'), 'a blocking copy'
        return out


def prepared(device: str) -> Callable[[], Tensor]:
    """A forward of all tasks together on a device, each term with a factor of its own, and its backward."""
    torch.manual_seed(0)
    model = UniX2(tiny_config('x').model.model_copy(update={'labels': LABELS}), VOCABULARY).to(device)
    batches = {task: task_batch(task).to(device) for task in EVERY}
    factors = {task: dict.fromkeys((task, 'mmmt_masked'), 0.5) for task in EVERY if task in SUMMED}

    def run() -> Tensor:
        outcome = forward(model, batches, factors)
        total = outcome.total + sum(side.sum() for pair in outcome.features.values() for side in pair)
        total.backward()
        return total

    return run


def test_nothing_is_copied_that_the_device_must_be_waited_for() -> None:
    kernels.use(Kernels(attention='torch', token_loss='torch'), Place(torch.device('meta'), 'fp32', 16))
    run = prepared('meta')
    with Watched():
        assert run().device.type == 'meta'


def test_true_pairs_are_found_by_as_many_operations_for_any_number_of_rows() -> None:
    """One wait is left: for the most captions that a record of any rank has."""

    def gathered(rows: Tensor) -> Tensor:
        return torch.tensor([3]) if rows.shape == (1,) else rows

    def operations(samples: int) -> int:
        batch, watched = task_batch('itm', samples), Watched()
        with watched:
            (found,) = with_known_pairs([batch], gathered, torch.device('meta'))
        assert found.match is not None and found.match.device.type == 'meta'
        return watched.calls

    assert operations(8) == operations(40)


def test_what_goes_to_a_gpu_is_pinned() -> None:
    """As far as can be seen without one."""
    called: list[tuple[str, Any]] = []

    class Gpu(TorchFunctionMode):
        def __torch_function__(self, function: Callable[..., Any], types: Any, arguments: Any = (), named: Any = None) -> Any:
            if function in (Tensor.pin_memory, Tensor.to):
                called.append((function.__name__, (named or {}).get('non_blocking')))
                return arguments[0]
            return function(*arguments, **(named or {}))

    with Gpu():
        Layout.of(torch.tensor([2, 3]), 'cuda')
        sent(torch.zeros(2), torch.device('cuda', 1))
        sent(torch.zeros(2), 'cpu')
    assert called == [('pin_memory', None), ('to', True)] * 5 + [('to', True)]


@pytest.mark.skipif(not torch.cuda.is_available(), reason='no GPU: whether a step waits for one was not seen')
def test_a_gpu_is_not_waited_for() -> None:
    kernels.use(Kernels(), Place(torch.device('cuda'), 'fp32', 16))
    run = prepared('cuda')
    run()  # what is done once, such as choosing algorithms, may wait
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode('error')
    try:
        run()
    finally:
        torch.cuda.set_sync_debug_mode('default')
        kernels.use(Kernels(), Place(torch.device('cpu'), 'fp32', 16))
