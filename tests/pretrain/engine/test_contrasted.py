"""What a contrastive part of a step copies to the device; its gradients are in test_step.py and tests/distributed/test_parity.py."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from pretrain.engine.contrasted import Contrasted
from pretrain.model.unix2 import UniX2
from pretrain.tasks.contrastive import Contrast
from tests.support.synthetic import VOCABULARY, task_batch, tiny_config

COPIED: list[tuple[int, ...]] = []  # shapes of the pictures that were copied


class Pictures(Tensor):
    """Pixels that count their copies to a device."""

    def to(self, *args: Any, **kwargs: Any) -> Tensor:
        COPIED.append(tuple(self.shape))
        return self.as_subclass(Tensor).to(*args, **kwargs)


def test_pictures_are_copied_once_for_the_features_and_not_for_the_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('pretrain.engine.contrasted.gather', lambda rows: rows)  # one rank
    COPIED.clear()
    batches = [task_batch('cmcl', 8, seed) for seed in (0, 1)]
    for batch in batches:
        assert batch.images is not None
        batch.images = batch.images.as_subclass(Pictures)
    engine: Any = SimpleNamespace(device=torch.device('cpu'), rank=0, world=1)
    dropout: Any = SimpleNamespace(seed=lambda micro: None)
    contrasted = Contrasted(engine, UniX2(tiny_config('').model, VOCABULARY), batches, Contrast())
    contrasted.cache(dropout, lambda micro: None)
    assert contrasted.gradient is not None and contrasted.gradient.x.shape[0] == 16
    assert COPIED == [(8, 3, 16, 16)] * 2
