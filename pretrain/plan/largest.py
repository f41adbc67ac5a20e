"""The largest micro-batch that fits a GPU."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from pretrain.config import Config
from pretrain.engine.forwards import TOGETHER
from pretrain.plan.batches import Shape, planned_batch
from pretrain.plan.cluster import Cluster
from pretrain.plan.estimate import Estimate, draws
from pretrain.plan.memory import backward
from pretrain.plan.trace import Trace, Tracer, together
from pretrain.tasks import CONTRASTIVE

FIT_ROWS = (1, 2048)  # micro-batches at which memory is traced first
FIT_MOST = 1 << 17  # none larger is looked for
FIT_TRACES = 12  # so many more at most are traced, nearer to the largest that fits, ...
FIT_WITHIN = 0.05  # ... until it is known so well
RANKED_AT = 256  # rows at which tasks are compared
RIVALS = 0.1  # a task that keeps less by such a share at those rows keeps less at others too
CAPACITIES = (40, 80)  # GB, the two A100s


def largest_batches(config: Config, vocabulary: int, cluster: Cluster, full: Estimate, recompute: bool) -> list[dict[str, Any]]:
    """The largest micro-batch of full-length sequences for each capacity, with recomputation or without, when every task has as many
    samples a rank and no more: the scores of a contrast grow with the square of the global batch.

    It was traced, so that it fits; the task that keeps most is looked for among all.
    """
    model = config.model.model_copy(update={'recompute': recompute})
    changed = config.model_copy(update={'model': model})
    peak = Peaks(changed, vocabulary, cluster.gpus)
    fixed = backward(full.parameters, cluster.gpus, config.precision, 0, 0).total
    found = []
    for capacity in CAPACITIES:
        usable = capacity * 1e9 * (1 - cluster.reserve)
        micro = largest(peak, usable - fixed, peak.known) if full.moments['reduction'].total <= usable else 0
        found.append({
            'memory_gb': capacity, 'recompute': recompute, 'micro': micro, 'global': micro * cluster.gpus, 'by': peak.by.get(micro, ''),
        })  # fmt: skip
    return found


class Peaks:
    """Rows of a micro-batch -> bytes that it keeps at most; `known` are those that were traced, `by` says which task it was."""

    def __init__(self, config: Config, vocabulary: int, world: int) -> None:
        self.config, self.world = config, world
        self.tracer, self.shape = Tracer(config, vocabulary, gpu=True), Shape.longest(config)
        self.known: dict[int, int] = {}
        self.by: dict[int, str] = {}
        ranked = {task: self._trace(task, RANKED_AT) for task in map(str, config.tasks)}
        self.workspaces = [trace.workspace for trace in ranked.values()]
        sizes = self._sizes(ranked)
        falling = sorted(sizes, key=sizes.__getitem__, reverse=True)
        near = [task for task in falling if sizes[task] >= (1 - RIVALS) * sizes[falling[0]]]
        self.tasks = list(dict.fromkeys([*near, *[task for task in falling if task in CONTRASTIVE][:1]]))
        self.joint, self.times = config.batch.together or config.mixture.share_images, 1
        if self.joint and config.batch.merge == 'drawn':
            self.times = draws(config)
        elif self.joint:
            self.tasks = [TOGETHER]

    def __call__(self, rows: int) -> int:
        if rows not in self.known:
            traces = {task: self._trace(task, rows, self.times) for task in self.tasks}
            sizes = {task: traces[task].peak for task in traces} if self.joint else self._sizes(traces)
            self.by[rows] = max(sizes, key=sizes.__getitem__)
            self.known[rows] = sizes[self.by[rows]]
        return self.known[rows]

    def _sizes(self, traces: dict[str, Trace]) -> dict[str, int]:
        """Of each task, with what the others have left in the workspace of the loss."""
        held = together([*self.workspaces, *[trace.workspace for trace in traces.values()]])
        return {task: trace.peak + held - sum(trace.workspace.values()) for task, trace in traces.items()}

    def _trace(self, task: str, rows: int, times: int = 1) -> Trace:
        """Of one task, so many times, or of all together."""
        names = {f'{task}.{number}': task for number in range(times)}
        if task == TOGETHER:
            names = {str(name): str(name) for name in self.config.tasks}
        return self.tracer.step({part: [planned_batch(self.config, name, rows, self.shape)] for part, name in names.items()}, self.world)


def largest(peak: Callable[[int], int], room: float, known: dict[int, int]) -> int:
    """The largest number of rows whose `peak` is at most `room`, within FIT_WITHIN: one that was tried; 0 if none fits. `known` holds what
    `peak` has found so far."""
    for rows in FIT_ROWS:
        peak(rows)
    while known[max(known)] <= room and max(known) < FIT_MOST:
        peak(4 * max(known))
    low, high = around(known, room)
    before = 0
    for _ in range(FIT_TRACES):
        if known[low] > room or known[high] <= room or high - low <= max(1, FIT_WITHIN * low):
            break
        # A parabola finds what grows smoothly in a few steps; where one has hardly brought the ends together, the middle does.
        peak(between(known, room) if not before or before >= 2 * (high - low) else round(math.sqrt(low * high)))
        before, (low, high) = high - low, around(known, room)
    if known[low] <= room < known[high] and high - low > 1:  # memory grows ever faster: as a rule what the straight line gives fits
        peak(min(max(fitting(known, room), low), high))
    return max((rows for rows, size in known.items() if size <= room), default=0)


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
    """Rows whose memory fits in `room`, by the straight line between the traced sizes around it."""
    low, high = around(peaks, room)
    return low + math.floor((room - peaks[low]) * (high - low) / (peaks[high] - peaks[low]))
