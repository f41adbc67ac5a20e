"""A whole plan: from a configuration and a cluster to the figures of `pretrain plan`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pretrain.config import Config
from pretrain.data.order import nearest_worlds
from pretrain.engine.ds_config import resolve_ds_config
from pretrain.plan.batches import Lengths, Shape, planned_batch
from pretrain.plan.cluster import Cluster, communication, reading, timing
from pretrain.plan.estimate import Estimate, estimate
from pretrain.plan.memory import backward
from pretrain.plan.trace import DTYPES, Tracer
from pretrain.tasks import CONTRASTIVE, REGISTRY
from shards.errors import UserError

FIT_ROWS = (16, 2048)  # micro-batches at which memory is traced for the largest that fits
FIT_TRACES = 12  # and at so many more at most, nearer to it, ...
FIT_WITHIN = 0.05  # ... until it is known so well
CAPACITIES = (40, 80)  # GB, the two A100s


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
    width = DTYPES[config.precision].itemsize
    sent = communication(full.parameters, width, cluster)
    times = timing(typical.flops, sent['seconds'], config.steps, cluster)
    samples = sum(config.batch.size(task) for task in config.tasks)
    pictures = sum(REGISTRY[task].pictured(config) * config.batch.size(task) for task in config.tasks)
    read = reading(samples, pictures, times['step_seconds'], assumed.picture_bytes, assumed.text_bytes, assumed.decode_rate)
    say('largest batch: tracing the largest tasks at two sizes, with and without recomputation')
    fits = [row for recompute in (False, True) for row in largest_batches(config, vocabulary, cluster, full, recompute)]
    return {
        'parameters': full.parameters, 'vocabulary': vocabulary, 'cluster': asdict(cluster), 'assumed': asdict(assumed),
        'recompute': config.model.recompute, 'micro': config.batch.micro, 'precision': config.precision,
        'share_images': config.mixture.share_images,
        'memory': full.memory.as_dict(), 'memory_reduction': full.moments['reduction'].as_dict(),
        'fits': full.memory.total <= cluster.usable_bytes,
        'tasks': {task: _task(config, task, full, typical, cluster) for task in config.tasks},
        'flops_per_gpu': typical.flops, 'communication': sent, 'time': times, 'reading': read,
        'checkpoint_bytes': 12 * full.parameters, 'checkpoints': config.steps // config.checkpoint.every, 'largest_batch': fits,
    }  # fmt: skip


def largest_batches(config: Config, vocabulary: int, cluster: Cluster, full: Estimate, recompute: bool) -> list[dict[str, Any]]:
    """The largest micro-batch of full-length sequences for each capacity, by the task that keeps most, and the contrast that does: its
    scores grow with the square of the global batch.
    """
    falling = sorted(config.tasks, key=lambda task: full.traces[task].peak, reverse=True)
    tasks = list(dict.fromkeys([*falling[:1], *[task for task in falling if task in CONTRASTIVE][:1]]))
    changed = config.model_copy(update={'model': config.model.model_copy(update={'recompute': recompute})})
    tracer, shape = Tracer(changed, vocabulary, gpu=True), Shape.longest(config)
    fixed = backward(full.parameters, cluster.gpus, config.precision, 0, 0).total

    def peak(task: str, rows: int) -> int:
        return tracer.task([planned_batch(changed, task, rows, shape)], cluster.gpus).peak

    peaks = {task: {rows: peak(task, rows) for rows in FIT_ROWS} for task in tasks}
    found = []
    for capacity in CAPACITIES:
        usable = capacity * 1e9 * (1 - cluster.reserve)
        for _ in range(FIT_TRACES):
            task = min(tasks, key=lambda task: fitting(peaks[task], usable - fixed))
            rows = between(peaks[task], usable - fixed)
            if rows in peaks[task] or abs(rows - fitting(peaks[task], usable - fixed)) <= FIT_WITHIN * rows:
                break
            peaks[task][rows] = peak(task, rows)
        rows, task = min((fitting(peaks[task], usable - fixed), task) for task in tasks)
        micro = max(0, rows) if full.moments['reduction'].total <= usable else 0
        found.append({'memory_gb': capacity, 'recompute': recompute, 'micro': micro, 'global': micro * cluster.gpus, 'by': task})
    return found


def around(peaks: dict[int, int], room: float) -> tuple[int, int]:
    """The largest traced size whose memory fits in `room` and the next; the two smallest where none fits, the two largest where all do.
    peaks: bytes by rows, of two sizes or more."""
    sizes = sorted(peaks)
    place = min(max(1, sum(peaks[rows] <= room for rows in sizes)), len(sizes) - 1)
    return sizes[place - 1], sizes[place]


def between(peaks: dict[int, int], room: float) -> int:
    """The size to trace next: where the parabola through three sizes near `room` reaches it; of two, their geometric mean."""
    low, high = around(peaks, room)
    sizes = sorted(peaks)
    if len(sizes) == 2:
        return round(math.sqrt(low * high))
    first = min(max(0, sizes.index(low) - 1), len(sizes) - 3)
    near = sizes[first : first + 3]
    roots = np.roots(np.polyfit(near, [peaks[rows] for rows in near], 2) - [0, 0, room])
    return min(max(int(max(roots.real)), low + 1), high - 1)


def fitting(peaks: dict[int, int], room: float) -> int:
    """Rows whose memory fits in `room`, by the straight line between the traced sizes around it.

    Memory grows ever faster with the rows: another moment becomes the highest, the square of a contrast's batch the largest part. So the
    line is nowhere below it.
    """
    low, high = around(peaks, room)
    return low + math.floor((room - peaks[low]) * (high - low) / (peaks[high] - peaks[low]))


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
