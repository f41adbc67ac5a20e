"""The merged step at 1, 2 and 4 ranks, under ZeRO-1, ZeRO-2 and DDP, against a plain PyTorch step of the same global batch."""

from __future__ import annotations

from functools import partial
from itertools import combinations
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain.config import TASKS
from pretrain.model.unix2 import UniX2
from tests.support.distributed import run_distributed
from tests.support.parity import Case, Tensors, run_cases
from tests.support.plain import plain_loss, with_hard_negatives
from tests.support.synthetic import LABELS

pytestmark = [pytest.mark.slow, pytest.mark.launcher]

ALL = [*TASKS]
# At every number of ranks. Micro-batches of 2 samples: 1 a rank at 4 ranks, 2 at 2, 4 at 1; of 1 sample: some without a picture or a mask.
CASES = {
    **{task: Case([task]) for task in (*ALL, 'vtlm')},
    'all, zero2': Case(ALL),
    'all, zero1': Case(ALL, how='zero1'),
    'all, ddp': Case(ALL, how='ddp'),
    'all, reduced by hand': Case(ALL, how='reduced'),
    'all, one sample at a time': Case(ALL, micro=1),
    'all, together': Case(ALL, micro=8, together=True),
    'all, together, some cached': Case(ALL, together=True),  # at 4 ranks a micro-batch is all of a rank's share
    'one task drawn twice': Case(['cmcl', 'mlm'], again=True, together=True),
    'pictures in common': Case(ALL, share_images=True),
    'pictures in common, one sample at a time': Case([*ALL, 'vtlm'], micro=1, share_images=True),
    'pictures in common, together': Case(ALL, micro=8, together=True, share_images=True),
    'pictures in common, together, some cached': Case(ALL, together=True, share_images=True),
    'pictures in common, hard negatives': Case(['itm', 'cmcl', 'mlm'], task={'itm_negatives': 'hard'}, share_images=True),
    'entailment': Case(['entailment'], micro=1, model={'labels': LABELS}),
    'answering': Case(['answering'], model={'labels': LABELS}),
    'classes, together': Case(['entailment', 'cmcl', 'answering', 'itm'], model={'labels': LABELS}, together=True),
    'hard negatives': Case(['itm', 'mt'], micro=1, task={'itm_negatives': 'hard'}),
}
# Reduced as on a GPU: in two buckets by turns, each part to the rank that has its weights. Many forwards, and one a task.
SHIPPED = {f'shipped, {micro} at a time': Case(ALL, micro=micro, how='shipped') for micro in (1, 8)}
BF16 = {
    'bf16': Case(ALL, precision='bf16'),
    'bf16, shipped': Case(ALL, precision='bf16', how='shipped'),
    'bf16, together': Case(ALL, precision='bf16', together=True, micro=4),
}
OPTIONS = {
    'a weighted pair': Case(['mt', 'itm'], weights={'mt': 3.0, 'itm': 0.5}),
    'a weighted pair, together': Case(['itm', 'mt'], weights={'mt': 3.0, 'itm': 0.5}, together=True),
    'sigmoid': Case(['cmcl', 'clcl'], micro=1, model={'contrastive': 'sigmoid', 'logit_bias': -2.0}),
    'doubles left out': Case(['cmcl', 'clcl'], micro=1, task={'duplicates': 'ignored', 'contrastive_factor': 1.0}),
    'sigmoid, doubles left out': Case(['cmcl'], model={'contrastive': 'sigmoid', 'logit_bias': -2.0}, task={'duplicates': 'ignored'}),
    'eos': Case(['cmcl', 'clcl'], model={'text_pooling': 'eos'}),
    'mean': Case(['cmcl', 'clcl'], micro=1, model={'text_pooling': 'mean'}),
    'mean, together': Case(['clcl', 'mlm', 'cmcl'], model={'text_pooling': 'mean'}, together=True),
}
PAIRS = {f'{one} and {other}': Case([one, other], together=number % 2 == 1) for number, (one, other) in enumerate(combinations(ALL, 2))}
MANY = {'many, cached': Case(['cmcl'], micro=64, samples=256), 'many': Case(['cmcl'], micro=256, samples=256)}
RUN: dict[int, dict[str, Case]] = {1: CASES | OPTIONS | MANY, 2: CASES | OPTIONS | PAIRS | BF16 | SHIPPED, 4: CASES | OPTIONS}


@pytest.fixture(scope='module')
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, Tensors]]:
    """World size -> case -> what rank 0 has."""
    out = {}
    for world, cases in RUN.items():
        folder: Path = tmp_path_factory.mktemp(f'ranks{world}')
        out[world] = dict(zip(cases, run_distributed(run_cases, world, folder, list(cases.values()), str(folder)), strict=True))
    return out


def plain_losses(case: Case, model: UniX2) -> dict[str, Tensor]:
    """Part of the step -> its loss."""
    config = case.config()
    batches = case.batches()
    if config.task.itm_negatives == 'hard':
        batches['itm'] = with_hard_negatives(model, batches['itm'], config.seed, 0)
    ignore, factor = config.task.duplicates == 'ignored', config.task.contrastive_factor
    return {part: plain_loss(model, batch.task, batch, ignore, factor) for part, batch in batches.items()}


@pytest.mark.parametrize(('world', 'name'), [(world, name) for world, cases in RUN.items() for name in cases if name not in BF16])
def test_losses_and_gradients_equal_a_plain_step(results: dict[int, dict[str, Tensors]], world: int, name: str) -> None:
    """To fp32 rounding. Weights that a task does not use have no gradient; nothing hangs though a rank may lack pictures or masks."""
    case, got = RUN[world][name], results[world][name]
    model = case.new_model()
    losses = plain_losses(case, model)
    total = torch.stack([case.weights.get(part.partition('.')[0], 1) * loss for part, loss in losses.items()]).mean()
    total.backward()
    gradients = {name: torch.zeros_like(value) if value.grad is None else value.grad for name, value in model.named_parameters()}
    if case.how != 'ddp':
        for task in case.tasks:
            own = torch.stack([loss for part, loss in losses.items() if part.partition('.')[0] == task]).mean()
            torch.testing.assert_close(got[f'loss.{task}'], own.detach(), atol=1e-6, rtol=1e-5)
        norm = torch.stack([gradient.norm() for gradient in gradients.values()]).norm()
        torch.testing.assert_close(got['norm'], norm, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(got['total'], total.detach(), atol=1e-6, rtol=1e-5)
    for weight, wanted in gradients.items():
        rounding = max(1e-6, 2e-5 * float(wanted.abs().max()))  # of the sums that cancel in its smaller elements
        torch.testing.assert_close(got[f'grad.{weight}'], wanted, atol=rounding, rtol=1e-4, msg=partial('{}: {}'.format, weight))


@pytest.mark.parametrize('task', ['cmcl', 'clcl'])
@pytest.mark.parametrize('world', RUN)
def test_contrastive_scale_by_finite_differences(results: dict[int, dict[str, Tensors]], world: int, task: str) -> None:
    """A second witness that asks no autograd: along the gradient the loss rises by its squared length, whatever the number of ranks."""
    got = results[world][task]
    case = CASES[task]
    step = 1e-4
    norm = float(got['norm'])
    ends = []
    for sign in (1, -1):
        model = case.new_model().double()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.add_(got[f'grad.{name}'].double(), alpha=sign * step / norm)
            ends.append(float(plain_losses(case, model)[task]))
    assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(norm, rel=1e-3)


@pytest.mark.parametrize('name', BF16)
def test_bf16_follows_fp32(results: dict[int, dict[str, Tensors]], name: str) -> None:
    """bf16 weights and activations; weights of the optimizer, accumulation and reduction in fp32: the gradient points where fp32's does."""
    half, full = results[2][name], results[2]['all, zero2']
    flat = [torch.cat([tensors[name].flatten() for name in sorted(tensors) if name.startswith('grad.')]) for tensors in (half, full)]
    assert F.cosine_similarity(flat[0], flat[1], dim=0) > 0.99
    torch.testing.assert_close(half['norm'], full['norm'], rtol=0.05, atol=0)
    assert half['fp32 state'] == 1


@pytest.mark.parametrize(('few', 'many'), [tuple(reversed(SHIPPED)), ('all, together', 'all, one sample at a time')])
def test_gradients_are_reduced_once_a_step(results: dict[int, dict[str, Tensors]], few: str, many: str) -> None:
    """However many backwards it has: the same tensors, of which the gradients are all weights in fp32."""
    one, other = results[2][few], results[2][many]
    assert bool(one['overlapped']) == bool(other['overlapped']) == few.startswith('shipped')
    assert torch.equal(one['reduced'], other['reduced'])
    weights = sum(value.numel() for name, value in one.items() if name.startswith('grad.'))
    assert 4 * weights <= int(one['reduced'].sum()) < 4 * weights + 4096, 'besides them: counts, losses, norms'


def test_the_global_batch_does_not_depend_on_the_ranks(results: dict[int, dict[str, Tensors]]) -> None:
    """Nor do its hash, and what the log says of it."""
    for name, case in CASES.items():
        if case.how == 'ddp':
            continue
        one, *others = (results[world][name] for world in RUN)
        for other in others:
            for key in one:
                if key == 'samples' or key.startswith('examples.'):
                    assert torch.equal(one[key], other[key]), (name, key)


def test_gradient_caching_takes_a_quarter_of_the_memory(results: dict[int, dict[str, Tensors]]) -> None:
    """One rank, four micro-batches against one forward of all samples: what autograd holds at a time."""
    assert results[1]['many, cached']['peak'] < 0.3 * results[1]['many']['peak']
