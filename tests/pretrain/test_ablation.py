"""Every task truly trains: without it, its own loss is higher."""
from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from pretrain.config import TASKS, Config, load_config
from pretrain.data.loader import StepBatches
from pretrain.engine.step import train_step
from pretrain.engine.zero import Engine, init_distributed
from pretrain.evaluation.heldout import heldout_losses
from pretrain.model.unix2 import UniX2
from shards.tokenizer import Tokenizer
from tests.support.distributed import run_distributed
from tests.support.launch import ROOT, TINY

STEPS, DISTINCT = 40, 2  # a tiny model learns two global batches by heart, and little else, in this time


def leave_one_out(settings: list[str]) -> Tensor:
    """(1 + tasks, tasks): losses after training on all tasks, then without each one. The other tasks' samples stay the same."""
    init_distributed()
    config = load_config(ROOT / 'configs/sample.yaml', settings)
    tokenizer = Tokenizer.load(config.data.tokenizer)
    batches = StepBatches(config, tokenizer, 0, 1)
    steps = [batches.step_data(step) for step in range(DISTINCT)]
    pools = {task: [(f'step {step}', data[task]) for step, data in enumerate(steps)] for task in TASKS}
    rows = []
    for left_out in (None, *TASKS):
        torch.manual_seed(0)
        part = Config.model_validate({**config.model_dump(by_alias=True), 'tasks': [task for task in TASKS if task != left_out]})
        engine = Engine(UniX2(config.model, tokenizer.vocabulary), part, None)
        for step in range(STEPS):
            data = steps[step % DISTINCT]
            train_step(engine, part, {task: data[task] for task in part.tasks}, step, config.optimizer.lr)
        report = heldout_losses(engine, pools)
        rows.append([report[task]['mean'] for task in TASKS])
    return torch.tensor(rows)


@pytest.mark.slow
@pytest.mark.launcher
def test_a_task_left_out_has_a_higher_loss(home: Path, tmp_path: Path) -> None:
    data = [f'data.shards={home / "shards"}', f'data.tokenizer={home / "tokenizer"}', 'data.workers=0']
    losses = run_distributed(leave_one_out, 1, tmp_path, [*TINY, *data, 'precision=fp32', 'batch.micro=8', 'model.dropout=0'])
    together, without = losses[0], losses[1:].diagonal()
    worse = dict(zip(TASKS, (without - together).tolist(), strict=True))
    assert all(rise > 0.03 for rise in worse.values()), (worse, together.tolist())
