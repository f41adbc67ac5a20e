"""A whole plan: from a configuration and a cluster to the figures of `pretrain plan`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

from pretrain.config import Config
from pretrain.data.order import nearest_worlds
from pretrain.engine.ds_config import resolve_ds_config
from pretrain.plan.batches import Lengths, Shape
from pretrain.plan.cluster import Cluster, Records, communication, reading, timing
from pretrain.plan.estimate import Estimate, drawn_share, estimate
from pretrain.plan.largest import largest_batches
from pretrain.plan.reduction import Settings
from pretrain.plan.trace import DTYPES
from pretrain.tasks import REGISTRY, Task
from shards.errors import UserError


@dataclass(frozen=True)
class Assumptions:
    """What the configuration does not say."""

    caption_tokens: int  # mean length, special tokens included
    text_tokens: int
    picture_bytes: int = 30_000  # of a record
    text_bytes: int = 500
    decode_rate: float = 500  # pictures a second that one loader process prepares


def make_plan(
    config: Config, ds_config: str | None, vocabulary: int, cluster: Cluster, assumed: Assumptions, say: Callable[[str], None]
) -> dict[str, Any]:
    """All figures. Memory is for sequences of full length, FLOPs and times for those of mean length. Raises UserError."""
    for task in config.tasks:
        if config.batch.size(task) % cluster.gpus:
            size = config.batch.size(task)
            near = ' or '.join(f'--gpus {number}' for number in nearest_worlds(config, cluster.gpus))
            key = f'batch.tasks.{task}' if task in config.batch.tasks else 'batch.global'
            raise UserError(f'{size} samples of {task} cannot be shared equally by {cluster.gpus} GPUs; {near} can, or set {key}')
    resolved = resolve_ds_config(ds_config, config, cluster.gpus, 'cuda')
    mean = Shape(_around(assumed.caption_tokens, config.data.caption_tokens), _around(assumed.text_tokens, config.data.text_tokens))
    say('memory: tracing every task with sequences of full length')
    full = estimate(config, vocabulary, cluster.gpus, Shape.longest(config), resolved, gpu=True)
    say('FLOPs: tracing every task with sequences of mean length')
    typical = estimate(config, vocabulary, cluster.gpus, mean, resolved, gpu=True)
    settings = Settings.of(resolved, DTYPES[config.precision].itemsize)
    sent = communication(full.parameters, settings.width, cluster, settings.sent, round(negatives(config)))
    times = timing(typical.flops, sent['seconds'], config.steps, cluster)
    read = reading(records(config), times['step_seconds'], assumed.picture_bytes, assumed.text_bytes, assumed.decode_rate, cluster.nodes)
    say('largest batch: tracing the tasks that keep most at several sizes, with and without recomputation')
    fits = [row for recompute in (False, True) for row in largest_batches(config, vocabulary, cluster, full, recompute)]
    return {
        'parameters': full.parameters, 'vocabulary': vocabulary, 'cluster': asdict(cluster), 'assumed': asdict(assumed),
        'recompute': config.model.recompute, 'micro': config.batch.micro, 'precision': config.precision,
        'share_images': config.mixture.share_images, 'drawn': drawn_share(config), 'stage': settings.stage, 'sent': settings.sent,
        'memory': full.memory.as_dict(), 'memory_reduction': full.moments['reduction'].as_dict(),
        'fits': full.memory.total <= cluster.usable_bytes,
        'tasks': {task: _task(config, task, full, typical, cluster) for task in config.tasks},
        'flops_per_gpu': typical.flops, 'communication': sent, 'time': times, 'reading': read,
        'checkpoint_bytes': 12 * full.parameters, 'checkpoints': config.steps // config.checkpoint.every, 'largest_batch': fits,
    }  # fmt: skip


def records(config: Config) -> Records:
    """What a step reads, on average. The loader reads a record whole: mMMT's with its picture, though that may be left out, and for a
    negative of ITM a second one, unless the step replaces what was read (hard ones)."""
    times = drawn_share(config)

    def over(tasks: Iterable[Any], share: Callable[[Task], float]) -> float:
        return times * sum(share(REGISTRY[task]) * config.batch.size(task) for task in tasks)

    samples = over(config.tasks, lambda kind: 1.0)
    drawn = over(config.tasks, lambda kind: kind.share(config, 'pictures') if 'pictures' in kind.corpora else 0.0)
    replaced = config.task.itm_negative_share if config.task.itm_negatives == 'random' else 0.0
    redrawn = over((task for task in config.tasks if task == 'itm'), lambda kind: replaced)
    decoded = over(config.tasks, lambda kind: kind.pictured(config))
    return Records(samples, drawn + redrawn, decoded, redrawn, samples - drawn)


def negatives(config: Config) -> float:
    """Bytes of pictures that all ranks broadcast in a step, on average: ITM's, where its negatives are hard."""
    if config.task.itm_negatives != 'hard' or 'itm' not in config.tasks:
        return 0.0
    return drawn_share(config) * config.batch.size('itm') * 3 * config.model.visual.image_size**2


def _task(config: Config, task: str, full: Estimate, typical: Estimate, cluster: Cluster) -> dict[str, float]:
    trace, share = typical.traces[task], config.batch.size(task) // cluster.gpus
    return {
        'samples_per_gpu': share, 'flops': trace.flops, 'flops_per_sample': trace.flops / share, 'bytes': trace.moved,
        'activations': full.traces[task].activations, 'logits': full.traces[task].logits,
        'seconds': trace.flops / (cluster.peak_tflops * 1e12 * cluster.utilisation),
    }  # fmt: skip


def _around(mean: int, longest: int) -> Lengths:
    """Lengths spread around a mean, up to the longest."""
    spread = max(0, min(mean - 4, longest - mean))
    return Lengths(mean - spread, mean + spread)
