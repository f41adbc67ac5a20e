"""Memory of one rank under ZeRO-2, by part. Compared with measured peaks in benchmarks/plan_memory.py.

N parameters, W ranks, weights of w bytes (bf16: 2, fp32: 4), buckets of R elements, of which overlapping communication has two. Two moments
can be the highest:

    backward   weights w N + optimizer 12 N / W + gradients 4 N (they add up in fp32) + what the largest task keeps
    reduction  weights w N + optimizer 12 N / W + what pretrain/plan/reduction.py counts: as a rule gradients 4 N, in bf16 this rank's
               reduced ones 4 N / W, buckets 4 R each, and a copy of a parameter that is larger than a bucket
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pretrain.plan.reduction import Settings, held
from pretrain.plan.trace import DTYPES

PARTS = ('weights', 'optimizer', 'gradients', 'activations', 'logits', 'communication')


@dataclass(frozen=True)
class Memory:
    """Bytes of one rank at its highest moment."""

    moment: str  # 'backward' or 'reduction'
    weights: int
    optimizer: int  # fp32 weights and AdamW's two moments
    gradients: int
    activations: int
    logits: int
    communication: int

    @property
    def total(self) -> int:
        return sum(getattr(self, part) for part in PARTS)

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), 'total': self.total}


def backward(parameters: int, world: int, precision: str, activations: int, logits: int) -> Memory:
    """During the backward of a task that keeps so much."""
    width = DTYPES[precision].itemsize
    optimizer = 12 * -(-parameters // world)
    return Memory('backward', width * parameters, optimizer, 4 * parameters, activations, logits, 0)


def reduction(groups: Sequence[Sequence[int]], world: int, settings: Settings, workspace: int) -> Memory:
    """While gradients are reduced. groups: elements of the parameters of each group, in order; workspace: bytes that the loss keeps."""
    parameters = sum(map(sum, groups))
    gradients, communication = held(groups, world, settings)
    optimizer = 12 * -(-parameters // world)
    return Memory('reduction', settings.width * parameters, optimizer, gradients, 0, workspace, communication)


def highest(moments: list[Memory]) -> Memory:
    return max(moments, key=lambda memory: memory.total)
