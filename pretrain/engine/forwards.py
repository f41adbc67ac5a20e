"""What of a step one forward and backward takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pretrain.data.batch import TaskBatch
from pretrain.data.packing import StepData
from pretrain.engine.counts import task_of
from pretrain.tasks import CONTRASTIVE, REGISTRY

TOGETHER = 'all tasks'


@dataclass(frozen=True)
class Forward:
    """Micro-batches that run together."""

    name: str  # the part, or TOGETHER
    batches: dict[str, TaskBatch]  # by part
    micro: int  # of each of these parts, counted from 0
    cached: bool = False  # the first of several micro-batches of a contrastive part: its features are to be known first

    @property
    def pictured(self) -> bool:
        """Whether a task of it has pictures; a micro-batch may have none."""
        return any('pictures' in REGISTRY[batch.task].corpora for batch in self.batches.values())


def grouped(found: Sequence[Forward], share_images: bool) -> list[list[Forward]]:
    """The same forwards; where pictures are shared, those of image-text tasks by the number of their micro-batches, any other by itself.
    It depends on the tasks, not on what a batch holds, so it is the same on all ranks.
    """
    groups: dict[tuple[bool, int], list[Forward]] = {}
    for number, forward in enumerate(found):
        shares = share_images and forward.pictured
        groups.setdefault((shares, forward.micro if shares else number), []).append(forward)
    return list(groups.values())


def forwards(data: StepData, together: bool) -> list[Forward]:
    """The forwards of a step, in order, the same on all ranks.

    Apart, each takes one micro-batch of one part. `together`, each takes one of every part, but for a contrastive part of several
    micro-batches: these run twice (gradient caching), and the second time must repeat the first with its dropout.
    """
    caching = [part for part, batches in data.items() if task_of(batches) in CONTRASTIVE and len(batches) > 1]
    apart = [part for part in data if not together or part in caching]
    out = []
    for part in apart:
        out += [Forward(part, {part: batch}, micro, part in caching and micro == 0) for micro, batch in enumerate(data[part])]
    joined = {part: batches for part, batches in data.items() if part not in apart}
    for micro in range(max(map(len, joined.values()), default=0)):
        out.append(Forward(TOGETHER, {part: batches[micro] for part, batches in joined.items() if micro < len(batches)}, micro))
    return out
