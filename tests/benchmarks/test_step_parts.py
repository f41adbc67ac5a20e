"""The parts of a step: what belongs to which, backward included, and that they add up."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.parts.part_times import HEADS, PARTS, REST, STEP, PartTimes
from benchmarks.parts.step_parts import ALL, TOGETHER_OF, measure, shares_of, table
from pretrain.engine.forwards import TOGETHER
from tests.benchmarks.test_step import arguments
from tests.support.distributed import run_distributed

PICTURED, WRITTEN = ('cmcl', 'itm', 'mlm', 'vplm', 'mmmt'), ('plm', 'vplm', 'mt', 'mmmt')


class Slow(torch.autograd.Function):
    """Takes so many seconds, forth and back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, forth: float, back: float) -> Tensor:
        ctx.back = back
        time.sleep(forth)
        return x.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        time.sleep(ctx.back)
        return grad, None, None


def test_a_part_has_its_own_backward() -> None:
    """Also where the backward goes from one part into another, and back into the first."""
    times, x = PartTimes(torch.device('cpu')), torch.ones(3, requires_grad=True)
    text = times.around('text', lambda x, *seconds: Slow.apply(x * 2, *seconds) + 1)
    cross = times.around('cross', lambda x, *seconds: Slow.apply(x * 3, *seconds))
    backward = times.backward(lambda share: share.backward())
    began = time.perf_counter()
    with times.timed():
        first = text(x, 0.01, 0.04)
        second = text(cross(first, 0.02, 0.08), 0.0, 0.03)
        time.sleep(0.01)
        backward(Slow.apply(second + first, 0.0, 0.05).sum())
    took = time.perf_counter() - began
    assert x.grad is not None and x.grad.tolist() == [14.0] * 3
    seconds = {part: seconds for (_, part), seconds in times.seconds().items()}
    least = {'text': 0.08, 'cross': 0.1, HEADS: 0.05, REST: 0.01}
    assert seconds.keys() == least.keys() and all(seconds[part] >= least[part] for part in least)
    assert sum(seconds.values()) <= took
    text(x, 0.0, 0.0)
    assert times.seconds() == {}  # outside it counts nothing


def test_what_lies_between_two_steps_is_no_part() -> None:
    times = PartTimes(torch.device('cpu'))
    for _ in range(2):
        with times.timed():
            times.switch('text')
        began = time.perf_counter()
        time.sleep(0.05)
    between = time.perf_counter() - began
    assert sum(times.seconds().values()) < between


def measured(folder: str, a: argparse.Namespace) -> dict[str, Any]:
    return measure(a, folder)


@pytest.mark.parametrize('ranks', [1, 2])
def test_the_parts_of_every_task_add_up_to_the_step(tmp_path: Path, ranks: int) -> None:
    found = run_distributed(measured, ranks, tmp_path, str(tmp_path), argparse.Namespace(**{**vars(arguments()), 'steps': 2}))
    assert found['ranks'] == ranks and found['gemm_gflop_per_s'] > 0
    for mode, together in TOGETHER_OF.items():
        timed = found['modes'][mode]
        shares = shares_of(timed)
        tasks = [TOGETHER] if together else [*PICTURED, *WRITTEN, 'clcl']
        assert shares.keys() == {*tasks, STEP, ALL} and all(cells.keys() == set(PARTS) for cells in shares.values())
        assert 0.8 < sum(shares[ALL].values()) <= 1
        assert all(shares[ALL][part] > 0 for part in PARTS)
        assert {part for part in PARTS if shares[STEP][part]} == {'optimizer', 'communication', 'data wait', 'rest'}
        for task in tasks:
            encoded = {'text', 'heads', 'rest'} | ({'visual'} if task in (TOGETHER, *PICTURED) else set())
            encoded |= {'cross'} if task not in ('cmcl', 'clcl') else set()
            encoded |= {'decoder'} if task in (TOGETHER, *WRITTEN) else set()
            assert {part for part in PARTS if shares[task][part]} - {'communication'} == encoded, task
        assert timed['gflop'].keys() == {*PICTURED, *WRITTEN, 'clcl'}
    lines = table(found).splitlines()
    assert [line.split()[0] for line in lines if line.startswith((*PICTURED, 'clcl', STEP, ALL))][-2:] == [STEP, ALL]
    assert all(part in table(found) for part in PARTS)
