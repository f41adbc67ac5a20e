"""Held-out losses, and how often ITM and the contrasts are right: over languages and ranks, against each pair judged by itself."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from pretrain.data.batch import TaskBatch
from pretrain.engine.distributed import init_distributed
from pretrain.engine.zero import Engine
from pretrain.evaluation.heldout import heldout_losses, judge
from pretrain.model.unix2 import UniX2
from pretrain.tasks import CONTRASTIVE
from pretrain.tasks.forward import features
from tests.support.distributed import run_distributed
from tests.support.synthetic import VOCABULARY, cut, task_batch, tiny_config

CPU = torch.device('cpu')


def tiny_model() -> UniX2:
    torch.manual_seed(0)
    return UniX2(tiny_config('').model, VOCABULARY)


def pools() -> dict[str, TaskBatch]:
    """Six pairs of one language, two of the other; what is said of records is left out, so that every pair is what `match` says."""
    whole = task_batch('itm')
    whole.own_image_ids = whole.own_text_ids = None
    return {'de': cut(whole, 0, 6), 'en': cut(whole, 6, 8)}


def of_ranks() -> Tensor:
    """Mean, loss of de, loss of en, accuracy; the last rank has nothing."""
    init_distributed()
    engine = cast(Engine, SimpleNamespace(module=tiny_model(), device=CPU, world=dist.get_world_size()))
    mine = list(pools().items())[dist.get_rank() :: max(dist.get_world_size() - 1, 1)] if dist.get_rank() < 2 else []
    report = heldout_losses(engine, {'itm': [(language, [batch]) for language, batch in mine], 'mlm': []})
    assert report['mlm'] == {'mean': None, 'languages': {}}
    assert list(report['itm']['languages']) == ['de', 'en']
    return torch.tensor([report['itm']['mean'], *report['itm']['languages'].values(), report['itm']['accuracy']])


@pytest.mark.parametrize('ranks', [1, 3])
def test_itm_on_any_number_of_ranks(tmp_path: Path, ranks: int) -> None:
    model = tiny_model().eval()
    found = {}
    for language, batch in pools().items():
        assert batch.match is not None
        alone = [cut(batch, row, row + 1) for row in range(len(batch))]
        logits = torch.cat([model.itm_logits(model.fuse(pair.text, pair.images, pair.image_rows).first()) for pair in alone])
        found[language] = (F.binary_cross_entropy_with_logits(logits, batch.match), logits.sigmoid().round() == batch.match)
    losses = [loss.item() for loss, _ in found.values()]
    right = torch.cat([right for _, right in found.values()])
    assert 0 < right.float().mean() < 1
    wanted = [sum(losses) / 2, *losses, right.float().mean().item()]
    assert run_distributed(of_ranks, ranks, tmp_path).tolist() == pytest.approx(wanted, rel=1e-4)


def test_a_language_in_several_micro_batches_is_one_language() -> None:
    """Losses of terms are means over all terms, not means of means; a contrastive loss is over the whole pool."""
    model = tiny_model().eval()
    with torch.no_grad():
        for task in ('mlm', 'mmmt', 'cmcl', 'clcl'):
            whole = task_batch(task)
            parts = [cut(whole, 0, 5), cut(whole, 5, 8)]
            once, cut_up = judge(model, task, [whole], CPU), judge(model, task, parts, CPU)
            assert once.answers == cut_up.answers == (16 if task in CONTRASTIVE else 0) and once.right == cut_up.right
            assert cut_up.loss == pytest.approx(once.loss, rel=1e-5), task


def test_a_contrast_is_right_where_the_counterpart_is_the_nearest() -> None:
    """Against one distance after another; two samples with the same text are each other's counterparts."""
    model, batch = tiny_model().eval(), task_batch('clcl')
    with torch.no_grad():
        judged = judge(model, 'clcl', [batch], CPU)
        x, y = features(model, batch)
    belongs = CONTRASTIVE['clcl'].positives(CONTRASTIVE['clcl'].keys(batch)).tolist()
    right = 0
    for row in range(len(x)):
        forth = [float((x[row] - other).norm()) for other in y]
        back = [float((y[row] - other).norm()) for other in x]
        right += belongs[row][forth.index(min(forth))] + belongs[row][back.index(min(back))]
    assert (judged.right, judged.answers) == (right, 2 * len(x)) and 0 < right < 2 * len(x)
