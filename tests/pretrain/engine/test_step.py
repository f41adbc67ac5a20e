"""The merged-gradient step under ZeRO-2 against a plain PyTorch step: no DeepSpeed, one process, the whole global batch."""
from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain.config import TASKS
from pretrain.data.batch import TaskBatch
from pretrain.engine.step import train_step
from pretrain.engine.zero import Engine, init_distributed
from pretrain.model.unix2 import UniX2, text_places
from tests.support.distributed import run_distributed
from tests.support.synthetic import VOCABULARY, rank_data, task_batch, tiny_config

BETA1 = 0.9
ALL = list(TASKS)

Step = tuple[list[str], int, str]  # tasks, micro-batch, precision
Steps = dict[str, dict[str, Tensor]]


def zero_step(tasks: list[str], micro: int, precision: str, out: str) -> dict[str, Tensor]:
    """Gradients (from AdamW's first moment after one update), losses and the hash of samples of one ZeRO-2 step."""
    config = tiny_config(out, precision=precision, micro=micro, tasks=tasks)
    torch.manual_seed(0)
    engine = Engine(UniX2(config.model, VOCABULARY), config, None)
    result = train_step(engine, config, rank_data(tasks, engine.rank, engine.world, micro), 0, 1e-2)
    assert result is not None
    out_tensors: dict[str, Tensor] = {f'loss.{task}': torch.tensor(loss) for task, loss in result.losses.items()}
    out_tensors['norm'] = torch.tensor(result.grad_norm)
    out_tensors['samples'] = torch.tensor(list(result.samples.encode()))
    for number, (names, shapes) in enumerate(zip(engine.names, engine.shapes, strict=True)):
        piece = engine.slices()[number]
        flat = torch.zeros(engine.group_sizes[number])
        flat[piece.start : piece.start + len(piece.master)] = piece.moments['exp_avg'] / (1 - BETA1)
        torch.distributed.all_reduce(flat)
        sizes = [torch.Size(shape).numel() for shape in shapes]
        for name, shape, values in zip(names, shapes, flat.split(sizes), strict=True):
            out_tensors[f'grad.{name}'] = values.view(shape).clone()
    return out_tensors


def zero_steps(steps: list[Step], out: str) -> list[dict[str, Tensor]]:
    """Several of them, each with an engine of its own, in one process group: starting processes is what takes time."""
    init_distributed()
    return [zero_step(tasks, micro, precision, out) for tasks, micro, precision in steps]


def launched(world: int, folder: Path, steps: dict[str, Step]) -> Steps:
    return dict(zip(steps, run_distributed(zero_steps, world, folder, list(steps.values()), str(folder)), strict=True))


@pytest.fixture(scope='module')
def one_rank(tmp_path_factory: pytest.TempPathFactory) -> Steps:
    return launched(1, tmp_path_factory.mktemp('one'), {'micro 2': (ALL, 2, 'fp32'), 'micro 4': (ALL, 4, 'fp32')})


@pytest.fixture(scope='module')
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> Steps:
    alone: dict[str, Step] = {task: ([task], 2, 'fp32') for task in ALL}
    merged: dict[str, Step] = {'micro 2': (ALL, 2, 'fp32'), 'micro 4': (ALL, 4, 'fp32'), 'bf16': (ALL, 4, 'bf16')}
    return launched(2, tmp_path_factory.mktemp('two'), {**merged, **alone})


def plain_losses(model: UniX2, tasks: list[str]) -> dict[str, Tensor]:
    return {task: plain_loss(model, task, task_batch(task)) for task in tasks}


def plain_loss(model: UniX2, task: str, batch: TaskBatch) -> Tensor:
    """The paper's losses in a few lines of PyTorch, on the whole global batch."""
    if task in ('cmcl', 'clcl'):
        return plain_contrastive(model, task, batch)
    encoded = model.fuse(batch.text, batch.images, batch.image_rows)
    if task == 'itm':
        assert batch.match is not None
        probability = torch.sigmoid(model.itm_head(encoded.states[encoded.layout.starts]).squeeze(1))
        return -(batch.match * probability.log() + (1 - batch.match) * (1 - probability).log()).mean()
    loss = torch.zeros(())
    if batch.masked is not None and batch.masked_labels is not None:
        states = encoded.states[text_places(model.encode_texts(batch.text).layout, encoded.layout)[batch.masked]]
        logits = model.mlm_norm(F.gelu(model.mlm_dense(states))) @ model.embed_tokens.T + model.mlm_bias
        loss = loss + F.cross_entropy(logits, batch.masked_labels)
    if batch.decoder_input is not None and batch.labels is not None:
        loss = loss + F.cross_entropy(model.decode(batch.decoder_input, encoded)[: len(batch.labels)] @ model.embed_tokens.T, batch.labels)
    return loss


def plain_contrastive(model: UniX2, task: str, batch: TaskBatch) -> Tensor:
    """InfoNCE row by row; duplicates (rows 0 and 3 share a picture, rows 1 and 2 a text) are positives with equal weight."""
    text = F.normalize(model.text_projection(model.encode_texts(batch.text).first()), dim=1)
    if task == 'cmcl':
        assert batch.images is not None
        other, twins = text, [{0, 3}, {1, 2}]
        text = F.normalize(model.visual_projection(model.encode_images(batch.images)[:, 0]), dim=1)
    else:
        assert batch.other is not None
        other, twins = F.normalize(model.text_projection(model.encode_texts(batch.other).first()), dim=1), [{1, 2}]
    scores = model.logit_scale.exp() * text @ other.T
    loss = torch.zeros(())
    for row in range(len(scores)):
        positives = next((sorted(pair) for pair in twins if row in pair), [row])
        for direction in (scores[row], scores[:, row]):
            loss = loss - (direction[positives] - direction.logsumexp(0)).mean() / 2
    return loss / len(scores)


def compare(got: dict[str, Tensor], tasks: list[str]) -> None:
    """Losses, norm and the gradient of every weight of a ZeRO-2 step against the plain one."""
    torch.manual_seed(0)
    model = UniX2(tiny_config('').model, VOCABULARY)
    losses = plain_losses(model, tasks)
    torch.stack(list(losses.values())).mean().backward()
    for task in tasks:
        torch.testing.assert_close(got[f'loss.{task}'], losses[task].detach(), atol=1e-6, rtol=1e-5)
    norm = torch.stack([parameter.grad.norm() for parameter in model.parameters() if parameter.grad is not None]).norm()
    torch.testing.assert_close(got['norm'], norm, atol=1e-6, rtol=1e-5)
    for name, parameter in model.named_parameters():
        wanted = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        torch.testing.assert_close(got[f'grad.{name}'], wanted, atol=1e-6, rtol=1e-4, msg=partial('{}: {}'.format, name))


@pytest.mark.slow
@pytest.mark.launcher
@pytest.mark.parametrize('micro', ['micro 2', 'micro 4'])
def test_gradients_equal_a_plain_step(one_rank: Steps, two_ranks: Steps, micro: str) -> None:
    compare(one_rank[micro], ALL)
    compare(two_ranks[micro], ALL)


@pytest.mark.slow
@pytest.mark.launcher
@pytest.mark.parametrize('task', TASKS)
def test_each_task_alone_at_two_ranks(two_ranks: Steps, task: str) -> None:
    """Parameters that a task does not use get no gradient; nothing hangs though one rank may lack pictures."""
    compare(two_ranks[task], [task])


@pytest.mark.slow
@pytest.mark.launcher
def test_bf16_gradients_follow_fp32(one_rank: Steps, two_ranks: Steps) -> None:
    """bf16 weights and activations, fp32 accumulation and reduction: the gradient points where fp32's does (cosine above 0.99)."""
    half, full = two_ranks['bf16'], one_rank['micro 4']
    flat = [torch.cat([tensors[name].flatten() for name in sorted(tensors) if name.startswith('grad.')]) for tensors in (half, full)]
    assert F.cosine_similarity(flat[0], flat[1], dim=0) > 0.99
    torch.testing.assert_close(half['norm'], full['norm'], rtol=0.05, atol=0)
    assert torch.equal(half['samples'], full['samples'])  # the hash of the global batch does not depend on the number of ranks
