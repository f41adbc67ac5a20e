"""The step and dropout; its gradients without dropout are in tests/distributed/test_parity.py."""

from __future__ import annotations

from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pretrain import kernels
from pretrain.config import Config, Kernels
from pretrain.config.tasks import Mixture
from pretrain.data.packing import StepData
from pretrain.data.rng import hash63
from pretrain.engine.distributed import init_distributed
from pretrain.engine.forwards import TOGETHER
from pretrain.engine.shared_pictures import numbered
from pretrain.engine.step import Dropout, train_step
from pretrain.kernels.registry import Place
from pretrain.model.unix2 import UniX2
from pretrain.tasks import CONTRASTIVE
from pretrain.tasks.contrastive import contrastive_loss
from pretrain.tasks.forward import Shown, features, forward
from tests.support.distributed import run_distributed
from tests.support.parity import ReducedByHand
from tests.support.synthetic import VOCABULARY, micro_batches, task_batch, tiny_config, with_pictures_in_common

STEP = 5


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


def test_dropout_is_seeded_as_torch_does_it() -> None:
    Dropout(3, 1, 'mlm', 0).seed(2)
    drawn = torch.rand(4)
    torch.manual_seed(torch.initial_seed())
    assert torch.equal(torch.rand(4), drawn) and torch.initial_seed() == hash63('dropout/3/1/mlm/0/2')


def dropped(recompute: bool, together: bool, share_images: bool) -> Config:
    """Four micro-batches of CMCL, cached, and of MLM, with dropout; that of the visual encoder is its own."""
    config = tiny_config('', tasks=['cmcl', 'mlm'], mixture=Mixture(share_images=share_images))
    visual = config.model.visual.model_copy(update={'options': {**config.model.visual.options, 'proj_drop_rate': 0.3}})
    model = config.model.model_copy(update={'dropout': 0.3, 'recompute': recompute, 'visual': visual})
    return config.model_copy(update={'model': model, 'batch': config.batch.model_copy(update={'together': together})})


def data_of(config: Config) -> StepData:
    whole = {task: task_batch(task) for task in config.tasks}
    if config.mixture.share_images:
        for number, batch in enumerate(whole.values()):
            with_pictures_in_common(batch, number)
    return {task: micro_batches(batch, 0, 1, 2) for task, batch in whole.items()}


def new_model(config: Config) -> UniX2:
    torch.manual_seed(0)
    return UniX2(config.model, VOCABULARY)


def uncached(config: Config, data: StepData) -> UniX2:
    """The model with the gradient of one graph over all micro-batches, each with the seed that the step gives it."""
    model = new_model(config)
    pairs, losses = [], []
    shown = [encoded(config, model, data, micro) for micro in range(4)] if config.mixture.share_images else [None] * 4
    for micro, batch in enumerate(data['cmcl']):
        Dropout(config.seed, STEP, 'cmcl', 0).seed(micro)
        pairs.append(features(model, batch, shown[micro]))
    x, y = (torch.cat([pair[side] for pair in pairs]) for side in (0, 1))
    task = CONTRASTIVE['cmcl']
    losses.append(contrastive_loss(x, y, model.scale(), task.positives(torch.cat([task.keys(batch) for batch in data['cmcl']]))))
    tokens = sum(batch.targets for batch in data['mlm'])
    for micro, batch in enumerate(data['mlm']):
        Dropout(config.seed, STEP, TOGETHER if config.batch.together else 'mlm', 0).seed(micro)
        losses.append(forward(model, {'mlm': batch}, shown=shown[micro]).total / tokens)
    (sum(losses, torch.zeros(())) / 2).backward()
    return model


def encoded(config: Config, model: UniX2, data: StepData, micro: int) -> Shown:
    """What the tasks' micro-batches of that number share, with a graph that all of them use."""
    batches = {task: group[micro] for task, group in data.items()}
    rows, first = numbered(batches)
    Dropout(config.seed, STEP, 'pictures', 0).seed(micro)
    return Shown(model.encode_images(torch.cat([batches[task].images[new] for task, new in first.items()])), rows)  # type: ignore[index]


def cached_gradients() -> dict[str, Tensor]:
    """Ours and the uncached gradient, flat, for every combination."""
    init_distributed()
    out = {}
    for dropout, recompute, together, shared in product(('torch', 'sfc64'), (False, True), (False, True), (False, True)):
        kernels.use(Kernels(dropout=dropout), Place(torch.device('cpu'), 'fp32', 64))
        config = dropped(recompute, together, shared)
        data = data_of(config)
        engine: Any = ReducedByHand(new_model(config))
        assert train_step(engine, config, data, STEP, 1e-2) is not None
        for name, model in (('ours', engine.module), ('uncached', uncached(config, data))):
            gradients = [torch.zeros_like(value) if value.grad is None else value.grad for value in model.parameters()]
            out[f'{dropout} {recompute} {together} {shared} {name}'] = torch.cat([gradient.flatten() for gradient in gradients])
    return out


@pytest.mark.slow
@pytest.mark.launcher
def test_gradient_caching_replays_dropout(tmp_path: Path) -> None:
    """Units dropped when the features are found are dropped again when their gradient goes through the towers; also the visual encoder's,
    of pictures that the tasks share.
    """
    found = run_distributed(cached_gradients, 1, tmp_path)
    cases = [name.removesuffix(' ours') for name in found if name.endswith(' ours')]
    assert len(cases) == 16
    for case in cases:
        wanted = found[f'{case} uncached']
        assert wanted.norm() > 0.1
        torch.testing.assert_close(found[f'{case} ours'], wanted, atol=1e-6, rtol=1e-4, msg=partial('{}: {}'.format, case))
