"""The engine's own promises, without the trainer."""
from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from pretrain.engine.zero import Engine, init_distributed
from pretrain.model.unix2 import UniX2
from tests.support.distributed import run_distributed
from tests.support.synthetic import VOCABULARY, tiny_config

BACKWARDS = 300


def many_backwards(out: str) -> dict[str, Tensor]:
    """BACKWARDS times the same gradient of 1 into [MM_CLS], and into one row of the token table by way of its embedding."""
    init_distributed()
    engine = Engine(UniX2(tiny_config(out).model, VOCABULARY), tiny_config(out, precision='bf16'), None)
    with engine.accumulate():
        for _ in range(BACKWARDS):
            engine.backward(engine.module.mm_cls.float().sum())
        dtype = engine.module.mm_cls.dtype
        total = engine.module.mm_cls.grad.clone()
    engine.step(0.0)
    return {'total': total, 'bf16': torch.tensor(dtype == torch.bfloat16), 'norm': torch.tensor(float(engine._zero._global_grad_norm))}


def test_gradients_of_bf16_weights_add_up_in_fp32(tmp_path: Path) -> None:
    """In bf16 the sum of ones stops at 256, where the next number is 258."""
    result = run_distributed(many_backwards, 1, tmp_path, str(tmp_path))
    assert result['bf16'] and result['total'].dtype == torch.float32
    assert (result['total'] == BACKWARDS).all()
    assert result['norm'] == BACKWARDS * result['total'].numel() ** 0.5  # what reached the optimizer
