"""What of the step needs no process group; its gradients are in tests/distributed/test_parity.py."""
from __future__ import annotations

import torch

from pretrain.engine.step import Dropout
from pretrain.model.unix2 import UniX2
from tests.support.synthetic import VOCABULARY, task_batch, tiny_config


def test_dropout_is_replayed_and_differs_by_step_task_micro_batch_and_rank() -> None:
    """Gradient caching runs the towers twice: the gradient fits the features only if the same units are dropped."""
    config = tiny_config('').model.model_copy(update={'dropout': 0.5})
    model, batch = UniX2(config, VOCABULARY), task_batch('clcl')

    def features(step: int, task: str, rank: int, micro: int) -> torch.Tensor:
        Dropout(0, step, task, rank).seed(micro)
        with torch.no_grad():
            return model.text_features(batch.text)

    first = features(1, 'clcl', 0, 0)
    features(2, 'clcl', 0, 0)
    assert torch.equal(features(1, 'clcl', 0, 0), first)
    for other in ((2, 'clcl', 0, 0), (1, 'cmcl', 0, 0), (1, 'clcl', 1, 0), (1, 'clcl', 0, 1)):
        assert not torch.allclose(features(*other), first)
