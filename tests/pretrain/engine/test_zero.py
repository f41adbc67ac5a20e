"""The engine's own promises, without the trainer."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pretrain.engine.distributed import init_distributed
from pretrain.engine.zero import Engine
from pretrain.model.unix2 import UniX2
from tests.support.distributed import run_distributed
from tests.support.synthetic import VOCABULARY, tiny_config

BACKWARDS = 300
HANG = 3600.0  # seconds


def many_backwards(out: str) -> dict[str, Tensor]:
    """BACKWARDS times the same gradient of 1 into [MM_CLS], and into one row of the token table by way of its embedding."""
    init_distributed(HANG)
    timeout = torch.distributed.distributed_c10d._get_default_group()._get_backend(torch.device('cpu')).options._timeout
    engine = Engine(UniX2(tiny_config(out).model, VOCABULARY), tiny_config(out, precision='bf16'), None)
    with engine.accumulate():
        for _ in range(BACKWARDS):
            engine.backward(engine.module.mm_cls.float().sum())
        dtype = engine.module.mm_cls.dtype
        total = engine.module.mm_cls.grad.clone()
    engine.step(0.0)
    norm = torch.tensor(float(engine._zero._global_grad_norm))
    return {'total': total, 'bf16': torch.tensor(dtype == torch.bfloat16), 'norm': norm, 'timeout': torch.tensor(timeout.total_seconds())}


@pytest.fixture(scope='module')
def result(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    folder = tmp_path_factory.mktemp('engine')
    return run_distributed(many_backwards, 1, folder, str(folder))


def test_gradients_of_bf16_weights_add_up_in_fp32(result: dict[str, Tensor]) -> None:
    """In bf16 the sum of ones stops at 256, where the next number is 258."""
    assert result['bf16'] and result['total'].dtype == torch.float32
    assert (result['total'] == BACKWARDS).all()
    assert result['norm'] == BACKWARDS * result['total'].numel() ** 0.5  # what reached the optimizer


def test_the_watchdog_speaks_before_the_time_out_of_a_collective(result: dict[str, Tensor]) -> None:
    assert result['timeout'] > HANG


def skipped_by_all(out: str) -> dict[str, Tensor]:
    """At 2 ranks, in both precisions: a finite loss of which one rank has no finite gradient, then a sound one."""
    init_distributed()
    found = {}
    for precision in ('fp32', 'bf16'):
        engine = Engine(UniX2(tiny_config(out).model, VOCABULARY), tiny_config(out, precision=precision), None)
        before = [piece.master.clone() for piece in engine.slices()]
        with engine.accumulate():
            loss = engine.module.mm_cls.float().sum()
            if engine.rank == 1:
                loss = loss + (engine.module.mm_cls.float() * 0).sum().sqrt()
            assert loss.isfinite()
            engine.backward(loss)
        norm, skipped = engine.step(1e-2)
        same = all(torch.equal(one, piece.master) for one, piece in zip(before, engine.slices(), strict=True))
        with engine.accumulate():
            engine.backward(engine.module.mm_cls.float().sum())
        mended = not engine.step(1e-2)[1] and engine.updates == 1 and all(piece.master.isfinite().all() for piece in engine.slices())
        verdict = torch.tensor([skipped, norm == float('inf'), same, mended])
        torch.distributed.all_reduce(verdict, torch.distributed.ReduceOp.MIN)
        found[precision] = verdict
    return found


def test_a_gradient_of_one_rank_that_is_not_finite_is_skipped_by_all(tmp_path: Path) -> None:
    found = run_distributed(skipped_by_all, 2, tmp_path, str(tmp_path))
    assert all(verdict.tolist() == [1, 1, 1, 1] for verdict in found.values()), found


RATE = 4.0


def updated(out: str) -> dict[str, Tensor]:
    """Two updates of every weight with a token table that learns faster, and AdamW's own with two learning rates, in one process."""
    init_distributed()
    config = tiny_config(out)
    options = config.optimizer.model_copy(update={'token_lr': RATE, 'weight_decay': 0.0})
    torch.manual_seed(0)
    model = UniX2(config.model, VOCABULARY)
    plain = copy.deepcopy(model)
    engine = Engine(model, config.model_copy(update={'optimizer': options}), None)
    table = plain.embed_tokens
    others = [parameter for parameter in plain.parameters() if parameter is not table]
    groups: list[dict[str, Any]] = [{'params': [table], 'lr': RATE * 0.01}, {'params': others}]
    peer = torch.optim.AdamW(groups, lr=0.01, betas=options.betas, eps=options.eps, weight_decay=0.0)
    for _ in range(2):
        with engine.accumulate():
            engine.backward(squares(engine.module) / engine.world)
        engine.step(0.01)
        squares(plain).backward()
        torch.nn.utils.clip_grad_norm_(plain.parameters(), options.clip)
        peer.step()
        peer.zero_grad()
    theirs = dict(plain.named_parameters())
    return {name: torch.stack([value.detach(), theirs[name].detach()]) for name, value in engine.module.named_parameters()}


def squares(model: UniX2) -> Tensor:
    return torch.stack([parameter.square().sum() for parameter in model.parameters()]).sum()


def test_the_token_table_learns_at_its_own_rate(tmp_path: Path) -> None:
    found = run_distributed(updated, 2, tmp_path, str(tmp_path))
    for name, (ours, theirs) in found.items():
        assert torch.allclose(ours, theirs, atol=1e-6), name
