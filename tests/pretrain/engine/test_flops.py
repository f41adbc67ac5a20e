"""The count from lengths against torch's own counter on the real modules, forward and backward."""

from __future__ import annotations

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from pretrain.config import TASKS, load_config
from pretrain.data.batch import TaskBatch
from pretrain.engine.flops import Flops, peak_flops
from pretrain.engine.host import plain_visual_attention
from pretrain.model.unix2 import UniX2
from pretrain.plan.batches import Lengths, Shape, planned_batch
from pretrain.tasks import CONTRASTIVE
from pretrain.tasks.forward import forward
from tests.support.synthetic import LABELS, task_batch, tiny_config

SETTINGS = [
    'model.dim=32', 'model.heads=2', 'model.ffn=64', 'model.text_layers=3', 'model.cross_layers=2', 'model.decoder_layers=2',
    'model.visual={image_size: 32, options: {embed_dim: 24, depth: 2, num_heads: 2, patch_size: 16}}',
    # Rows of one length: attention on a CPU pads to the longest, and what it pads is not counted.
    'task.mlm_text_share=0', 'task.mmmt_image_drop=0', 'task.prefix_probability=1', 'model.dropout=0',
]  # fmt: skip
ROWS = 64  # so that packed tensors have no idle tokens


def counted(model: UniX2, task: str, batch: TaskBatch) -> int:
    plain_visual_attention(model, torch.device('cpu'))
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        outcome = forward(model, {task: batch})
        total = outcome.total + sum(side.sum() for pair in outcome.features.values() for side in pair)
        total.backward()
    return int(counter.get_total_flops())


@pytest.mark.parametrize(('task', 'pooling'), [*((task, 'cls') for task in TASKS), *((task, 'mean') for task in CONTRASTIVE)])
def test_of_every_task(task: str, pooling: str) -> None:
    config = load_config('configs/sample.yaml', [*SETTINGS, f'model.text_pooling={pooling}'])
    model = UniX2(config.model, 500)
    batch = planned_batch(config, task, ROWS, Shape(Lengths(20, 20), Lengths(30, 30)), 'cpu')
    assert Flops(model).of([batch, batch]) == 2 * counted(model, task, batch)


@pytest.mark.parametrize('task', ['entailment', 'answering'])
def test_of_classes(task: str) -> None:
    config = tiny_config('x')
    model = UniX2(config.model.model_copy(update={'labels': LABELS}), 53)
    batch = task_batch(task, ROWS)
    real = counted(model, task, batch)
    assert Flops(model).of([batch]) == pytest.approx(real, rel=0.15) and Flops(model).of([batch]) < real  # rows of 2 to 8 tokens


def test_peak() -> None:
    assert peak_flops(312.5, torch.device('cpu')) == 312.5e12 and 1e8 < (peak_flops(None, torch.device('cpu')) or 0) < 1e14
