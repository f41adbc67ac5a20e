"""One optimizer step: one global batch of every active task, all gradients merged, one update (paper section 3.3)."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.distributed as dist
from torch import Tensor

from pretrain.config import Config
from pretrain.data.packing import StepData
from pretrain.data.rng import hash63
from pretrain.engine.collectives import gather
from pretrain.engine.contrasted import Contrasted
from pretrain.engine.counts import Counts, global_counts, summed, task_of
from pretrain.engine.flops import Flops
from pretrain.engine.forwards import Forward, forwards, grouped
from pretrain.engine.hard_negatives import replace_hard
from pretrain.engine.known_pairs import with_known_pairs
from pretrain.engine.shared_pictures import shared_pictures
from pretrain.engine.zero import Engine
from pretrain.model.unix2 import UniX2
from pretrain.tasks import CONTRASTIVE
from pretrain.tasks.contrastive import Contrast
from pretrain.tasks.forward import Shown
from pretrain.tasks.forward import forward as run_forward


@dataclass(frozen=True)
class StepResult:
    """What a step reports, equal on every rank."""

    losses: dict[str, float]  # per task that the step trained, of its global batch
    total: float  # their weighted mean, what was minimised
    grad_norm: float
    problem: str | None  # why the update was not made
    samples: str  # hash of the global batch's sample ids, in order
    samples_of: dict[str, int]  # samples of every task's global batches
    targets: dict[str, int]  # normaliser of each loss term
    examples: dict[str, float]  # share of samples with T_p > 0, mean masks a sample, ITM's negatives (engine/counts.py)
    tokens: dict[str, int]  # of every language that was met, encoded and written
    flops: int  # of the matrix products of all ranks (engine/flops.py)

    @property
    def size(self) -> int:
        """Samples of all global batches."""
        return sum(self.samples_of.values())

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
    for part in (part for part, task in tasks.items() if task == 'itm'):
        batches = data[part]
        if config.task.itm_negatives == 'hard':
            batches = replace_hard(model, [batch.to(engine.device) for batch in batches], config.seed, step, part)
        data = {**data, part: with_known_pairs(batches, gather, engine.device)}
    groups = grouped(forwards(data, config.batch.together), config.mixture.share_images)
    seen = Dropout(config.seed, step, 'pictures', engine.rank)
    shared = shared_pictures(model, groups, engine.device, seen.seed) if config.mixture.share_images else {}
    flops = Flops(model).of((batch for batches in data.values() for batch in batches), sum(group.spared for group in shared.values()))
    counted = global_counts(data, engine.device, flops)
    counts = counted.terms
    weights = {part: config.weight(task) / len(data) for part, task in tasks.items()}
    contrasts = {part: Contrasted(engine, model, data[part], Contrast.of(config)) for part, task in tasks.items() if task in CONTRASTIVE}
    losses = {part: torch.zeros((), device=engine.device) for part in data}
    with engine.accumulate():
        for group in groups:
            for forward in group:
                if forward.micro == 0 and point(forward.name, True):
                    return None
                dropout = Dropout(config.seed, step, forward.name, engine.rank)
                pictures = shared.get(forward.micro) if forward.pictured else None
                if forward.cached:
                    contrasts[forward.name].cache(dropout, lambda micro: shared[micro].encoded() if micro in shared else None)
                shown = None if pictures is None else pictures.shown()
                dropout.seed(forward.micro)
                backward(engine, model, forward, weights, counts, contrasts, losses, shown)
            if pictures is not None:  # of the group
                pictures.backward()
        if point('the update', False):
            return None
    means = {part: float(loss) for part, loss in zip(losses, share_losses(losses), strict=True)}
    total = sum(weights[part] * loss for part, loss in means.items())
    by_task = mean_by_task(means, tasks)
    problem, grad_norm = judge(by_task), math.inf
    if problem:
        engine.discard()
    else:
        grad_norm, overflow = engine.step(lr)
        problem = 'a gradient is not finite' if overflow else None
    told = counted.samples, summed(counts), counted.examples, counted.tokens, counted.flops
    return StepResult(by_task, total, grad_norm, problem, sample_hash(data), *told)


def mean_by_task(means: dict[str, float], tasks: dict[str, str]) -> dict[str, float]:
    """Mean loss of every task, over the parts of the step that train it."""
    losses: dict[str, list[float]] = {}
    for part, loss in means.items():
        losses.setdefault(tasks[part], []).append(loss)
    return {task: sum(values) / len(values) for task, values in losses.items()}


def backward(
    engine: Engine, model: UniX2, forward: Forward, weights: dict[str, float], counts: Counts, contrasts: dict[str, Contrasted],
    losses: dict[str, Tensor], shown: Shown | None = None,
) -> None:  # fmt: skip
    """Forward and backward of some micro-batches. Adds to `losses` this rank's shares of the tasks' losses, by part."""
    batches = forward.batches if shown is None else {part: replace(batch, images=None) for part, batch in forward.batches.items()}
    batches = {part: batch.to(engine.device) for part, batch in batches.items()}
    # A term without a target anywhere (count 0) is an empty sum: 0, not 0 / 0.
    share = {part: {name: 1 / max(count, 1) for name, count in counts.get(part, {}).items()} for part in batches}
    factors = {part: {name: weights[part] * value for name, value in terms.items()} for part, terms in share.items()}
    outcome = run_forward(model, batches, factors, shown)
    total = outcome.total
    for part, sums in outcome.sums.items():
        losses[part] += torch.stack([value * share[part][name] for name, value in sums.items()]).sum()
    for part, pair in outcome.features.items():
        surrogate, loss = contrasts[part].surrogate(pair, forward.micro)
        total = total + surrogate * weights[part]
        losses[part] += loss
    engine.backward(total)


class Dropout:
    """Reseeds dropout before every forward from (seed, step, task, micro-batch, rank): there is no generator state to save, and a
    forward can be replayed."""

    def __init__(self, seed: int, step: int, task: str, rank: int):
        self.key = (seed, step, task, rank)

    def seed(self, micro: int) -> None:
        seed = hash63('/'.join(map(str, ('dropout', *self.key, micro))))
        # As torch.manual_seed has it, which beside this formats three stack traces a call for kinds of devices that are not there.
        torch.default_generator.manual_seed(seed)
        if torch.cuda.is_initialized():
            torch.cuda.manual_seed(seed)


def share_losses(losses: dict[str, Tensor]) -> list[float]:
    """Losses of the global batch, from the ranks' shares. On a GPU this waits for all backwards, once a step: no update must be made before
    the losses are judged.
    """
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
