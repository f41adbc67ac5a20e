"""One optimizer step: one global batch of every active task, all gradients merged, one update (paper section 3.3; design decision 2)."""
from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from pretrain.config import Config
from pretrain.data.batch import TaskBatch
from pretrain.data.rng import hash63
from pretrain.engine.zero import Engine
from pretrain.model.unix2 import UniX2
from pretrain.tasks import CONTRASTIVE, SUMMED, ContrastiveTask, SumTask
from pretrain.tasks.contrastive import feature_gradient

StepData = dict[str, list[TaskBatch]]  # task -> micro-batches of this rank


@dataclass(frozen=True)
class StepResult:
    """What a step reports, equal on every rank."""

    losses: dict[str, float]  # per task, of the global batch
    total: float  # their weighted mean, what was minimised
    grad_norm: float
    skipped: bool  # the update was not applied: a gradient was not finite
    samples: str  # hash of the global batch's sample ids, in order
    targets: dict[str, int]  # normaliser of each loss term


def train_step(engine: Engine, config: Config, data: StepData, step: int, lr: float) -> StepResult:
    """Run `step` (0-based) on this rank's part `data` of the global batches, and update."""
    model: UniX2 = engine.module
    counts = global_counts(data, engine.device)
    weights = {task: config.weight(task) / len(data) for task in data}
    losses: dict[str, Tensor] = {}
    with engine.accumulate():
        for task, micro_batches in data.items():
            dropout = Dropout(config.seed, step, task, engine.rank)
            if task in CONTRASTIVE:
                losses[task] = backward_contrastive(engine, model, CONTRASTIVE[task], micro_batches, weights[task], dropout)
            else:
                losses[task] = backward_sums(engine, model, SUMMED[task], micro_batches, weights[task], counts, dropout)
    grad_norm, skipped = engine.step(lr)
    means = {task: float(loss) for task, loss in zip(losses, share_losses(losses), strict=True)}
    total = sum(weights[task] * loss for task, loss in means.items())
    return StepResult(means, total, grad_norm, skipped, sample_hash(data), counts)


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
    engine: Engine, model: UniX2, task: ContrastiveTask, micro_batches: list[TaskBatch], weight: float, dropout: Dropout
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
    gradient = feature_gradient(x, y, model.scale(), task.positives(keys))

    start = engine.rank * (len(x) // engine.world)
    for micro, batch in enumerate(batches):
        if not keep_graph:
            dropout.seed(micro)
            pairs[micro] = task.features(model, batch)
        own = slice(start, start := start + len(pairs[micro][0]))
        surrogate = (pairs[micro][0] * gradient.x[own]).sum() + (pairs[micro][1] * gradient.y[own]).sum()
        if micro == 0:  # every rank knows the whole gradient of the scale: each contributes its share, once a step
            surrogate = surrogate + (model.scale() * gradient.scale).sum() / engine.world
        engine.backward(surrogate * weight)
    return gradient.loss / engine.world


class Dropout:
    """Reseeds dropout before every forward from (seed, step, task, micro-batch, rank): there is no generator state to save, and a
    forward can be replayed."""

    def __init__(self, seed: int, step: int, task: str, rank: int):
        self.key = (seed, step, task, rank)

    def seed(self, micro: int) -> None:
        torch.manual_seed(hash63('/'.join(map(str, ('dropout', *self.key, micro)))))


def global_counts(data: StepData, device: torch.device) -> dict[str, int]:
    """Number of terms of every loss sum, over all ranks and micro-batches: known before the first backward."""
    local: dict[str, int] = {}
    for task, micro_batches in data.items():
        if task in SUMMED:
            for batch in micro_batches:
                for name, count in SUMMED[task].counts(batch).items():
                    local[name] = local.get(name, 0) + count
    counts = torch.tensor(list(local.values()), dtype=torch.int64, device=device)
    dist.all_reduce(counts)
    return dict(zip(local, counts.tolist(), strict=True))


def gather(rows: Tensor) -> Tensor:
    """(N, …) of every rank, in rank order: (world * N, …). No gradient runs through it. All ranks give the same N."""
    rows = rows.contiguous()
    out = rows.new_empty(dist.get_world_size() * len(rows), *rows.shape[1:])
    dist.all_gather_single(out, rows)
    return out


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
