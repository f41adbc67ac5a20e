"""One optimizer step: one global batch of every active task, all gradients merged, one update (paper section 3.3; design decision 2)."""
from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from pretrain.config import Config
from pretrain.data.batch import TaskBatch
from pretrain.data.packing import StepData
from pretrain.data.rng import hash63
from pretrain.engine.collectives import gather
from pretrain.engine.counts import global_counts, summed, task_of
from pretrain.engine.hard_negatives import replace_hard
from pretrain.engine.zero import Engine
from pretrain.model.unix2 import UniX2
from pretrain.tasks import CONTRASTIVE, SUMMED, ContrastiveTask, SumTask
from pretrain.tasks.contrastive import Contrast, feature_gradient


@dataclass(frozen=True)
class StepResult:
    """What a step reports, equal on every rank."""

    losses: dict[str, float]  # per task that the step trained, of its global batch
    total: float  # their weighted mean, what was minimised
    grad_norm: float
    problem: str | None  # why the update was not made
    samples: str  # hash of the global batch's sample ids, in order
    size: int  # samples of all global batches
    targets: dict[str, int]  # normaliser of each loss term
    examples: dict[str, float]  # share of samples with T_p > 0, mean masks a sample, ITM's negatives (engine/counts.py)

    @property
    def skipped(self) -> bool:
        """Whether the update was not made; the batch is consumed all the same."""
        return self.problem is not None


def train_step(
    engine: Engine,
    config: Config,
    data: StepData,
    step: int,
    lr: float,
    judge: Callable[[dict[str, float]], str | None] = lambda losses: None,
    point: Callable[[str, bool], bool] = lambda doing, alone: False,
) -> StepResult | None:
    """Run `step` (0-based) on this rank's share `data` of the global batches, and update.

    `judge` says by the losses of the tasks why no update must be made, None when it may. `point` is called before each part of the step
    with what that is, and whether a rank does it alone; when it returns true, on every rank alike, the step is abandoned: nothing has
    changed, and the result is None.
    """
    model: UniX2 = engine.module
    tasks = {part: task_of(micro_batches) for part, micro_batches in data.items()}
    if config.task.itm_negatives == 'hard':
        for part in (part for part, task in tasks.items() if task == 'itm'):
            data = {**data, part: replace_hard(model, [batch.to(engine.device) for batch in data[part]], config.seed, step, part)}
    counts, examples = global_counts(data, engine.device)
    weights = {part: config.weight(task) / len(data) for part, task in tasks.items()}
    losses: dict[str, Tensor] = {}
    with engine.accumulate():
        for part, micro_batches in data.items():
            if point(part, True):
                return None
            task, weight, dropout = tasks[part], weights[part], Dropout(config.seed, step, part, engine.rank)
            if task in CONTRASTIVE:
                losses[part] = backward_contrastive(engine, model, CONTRASTIVE[task], micro_batches, weight, dropout, Contrast.of(config))
            else:
                losses[part] = backward_sums(engine, model, SUMMED[task], micro_batches, weight, counts[part], dropout)
        if point('the update', False):
            return None
    means = {part: float(loss) for part, loss in zip(losses, share_losses(losses), strict=True)}
    total = sum(weights[part] * loss for part, loss in means.items())
    size = engine.world * sum(len(batch) for micro_batches in data.values() for batch in micro_batches)
    by_task = mean_by_task(means, tasks)
    problem, grad_norm = judge(by_task), math.inf
    if problem:
        engine.discard()
    else:
        grad_norm, overflow = engine.step(lr)
        problem = 'a gradient is not finite' if overflow else None
    return StepResult(by_task, total, grad_norm, problem, sample_hash(data), size, summed(counts), examples)


def mean_by_task(means: dict[str, float], tasks: dict[str, str]) -> dict[str, float]:
    """Mean loss of every task, over the parts of the step that train it."""
    losses: dict[str, list[float]] = {}
    for part, loss in means.items():
        losses.setdefault(tasks[part], []).append(loss)
    return {task: sum(values) / len(values) for task, values in losses.items()}


def backward_sums(
    engine: Engine, model: UniX2, task: SumTask, micro_batches: list[TaskBatch], weight: float, counts: dict[str, int], dropout: Dropout
) -> Tensor:
    """Backward of a task whose loss is sums over samples or tokens. Returns this rank's share of the task's loss."""
    total = torch.zeros((), device=engine.device)
    for micro, batch in enumerate(micro_batches):
        dropout.seed(micro)
        sums = task.sums(model, batch.to(engine.device))
        # A term without a target anywhere (count 0) is an empty sum: 0, not 0 / 0.
        share = torch.stack([value / max(counts[name], 1) for name, value in sums.items()]).sum()
        engine.backward(share * weight)
        total += share.detach()
    return total


def backward_contrastive(
    engine: Engine, model: UniX2, task: ContrastiveTask, micro_batches: list[TaskBatch], weight: float, dropout: Dropout, contrast: Contrast
) -> Tensor:
    """Backward of a contrastive task by gradient caching: the negatives are the whole global batch, whatever ranks and
    micro-batches there are.

    Features first (without graph when there are several micro-batches), then the loss of all of them and its gradient by feature, then that
    gradient into the towers, run again with the same dropout where no graph was kept. Returns this rank's share of the loss.
    """
    batches = [batch.to(engine.device) for batch in micro_batches]
    keep_graph = len(batches) == 1
    pairs = []
    for micro, batch in enumerate(batches):
        dropout.seed(micro)
        with torch.set_grad_enabled(keep_graph):
            pairs.append(task.features(model, batch))
    x, y = (gather(torch.cat([pair[side].detach() for pair in pairs])) for side in (0, 1))
    keys = gather(torch.cat([task.keys(batch) for batch in batches]))
    gradient = feature_gradient(x, y, model.scale(), task.positives(keys), model.logit_bias, contrast)

    start = engine.rank * (len(x) // engine.world)
    for micro, batch in enumerate(batches):
        if not keep_graph:
            dropout.seed(micro)
            pairs[micro] = task.features(model, batch)
        own = slice(start, start := start + len(pairs[micro][0]))
        surrogate = (pairs[micro][0] * gradient.x[own]).sum() + (pairs[micro][1] * gradient.y[own]).sum()
        if micro == 0:  # every rank knows the whole gradient of the scale: each contributes its share, once a step
            surrogate = surrogate + (model.scale() * gradient.scale).sum() / engine.world
            if gradient.bias is not None and model.logit_bias is not None:
                surrogate = surrogate + (model.logit_bias * gradient.bias).sum() / engine.world
        engine.backward(surrogate * weight)
    return gradient.loss / engine.world


class Dropout:
    """Reseeds dropout before every forward from (seed, step, task, micro-batch, rank): there is no generator state to save, and a
    forward can be replayed."""

    def __init__(self, seed: int, step: int, task: str, rank: int):
        self.key = (seed, step, task, rank)

    def seed(self, micro: int) -> None:
        torch.manual_seed(hash63('/'.join(map(str, ('dropout', *self.key, micro)))))


def share_losses(losses: dict[str, Tensor]) -> list[float]:
    """Losses of the global batch, from the ranks' shares."""
    shares = torch.stack([loss.float() for loss in losses.values()])
    dist.all_reduce(shares)
    return [float(loss) for loss in shares.tolist()]


def sample_hash(data: StepData) -> str:
    """A hash of the sample ids that the ranks truly read, task by task, in the order of the global batch."""
    ids = [torch.cat([batch.sample_ids for batch in micro_batches]).cpu() for micro_batches in data.values()]
    device = torch.device('cuda', torch.cuda.current_device()) if dist.get_backend() == 'nccl' else torch.device('cpu')
    every = gather(torch.cat(ids)[None].to(device)).cpu()  # (world, samples of a rank, task after task)
    digest = hashlib.sha256()
    for task in every.split([len(part) for part in ids], dim=1):
        digest.update(task.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
