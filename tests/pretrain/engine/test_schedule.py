"""Learning rate against transformers' cosine schedule, and its three fixed points."""

from __future__ import annotations

import pytest
import torch
from transformers import get_cosine_schedule_with_warmup

from pretrain.config import Optimizer
from pretrain.engine.schedule import learning_rate


def test_shape_is_transformers_cosine() -> None:
    """transformers' first update has rate 0, ours the first part of the warm-up: theirs, one update later, without a floor."""
    optimizer = Optimizer(lr=0.3, lr_min=0.0, warmup=7)
    model = torch.nn.Linear(1, 1)
    plain = torch.optim.SGD(model.parameters(), lr=0.3)
    schedule = get_cosine_schedule_with_warmup(plain, 7, 50)
    theirs = []
    for _ in range(50):
        theirs.append(schedule.get_last_lr()[0])
        plain.step()
        schedule.step()
    ours = [learning_rate(optimizer, step, 50) for step in range(50)]
    assert ours[:6] == pytest.approx(theirs[1:7])
    assert ours[7:] == pytest.approx(theirs[7:])


def test_paper_recipe() -> None:
    """Linear to 1e-4 over 4,000 updates, then a cosine down to 1e-6 at 60,000."""
    paper = Optimizer()
    rate = [learning_rate(paper, step, 60_000) for step in range(60_000)]
    assert rate[0] == pytest.approx(1e-4 / 4000)
    assert rate[1999] == pytest.approx(0.5e-4)
    assert rate[3999] == rate[4000] == pytest.approx(1e-4)
    assert rate[32_000] == pytest.approx((1e-4 + 1e-6) / 2)
    assert min(rate[4000:]) == rate[-1] == pytest.approx(1e-6, rel=1e-4)
    assert rate[:4000] == sorted(rate[:4000]) and rate[4000:] == sorted(rate[4000:], reverse=True)


def test_without_warm_up_or_decay() -> None:
    flat = Optimizer(lr=1e-3, lr_min=1e-3, warmup=0)
    assert {learning_rate(flat, step, 5) for step in range(5)} == {1e-3}
    assert learning_rate(Optimizer(lr=1.0, warmup=10), 2, 3) == pytest.approx(0.3), 'a run shorter than its warm-up'
    assert learning_rate(Optimizer(lr=1.0, warmup=3), 2, 3) == 1.0
