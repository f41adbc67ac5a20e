"""Memory of one rank under ZeRO-2, by part. Compared with measured peaks in benchmarks/plan_memory.py.

N parameters, W ranks, weights of w bytes (bf16: 2, fp32: 4), R elements in a reduction bucket. Two moments can be the highest:

    backward   weights w N + optimizer 12 N / W + gradients 4 N (they add up in fp32) + what the largest task keeps
    reduction  weights w N + optimizer 12 N / W + gradients not yet reduced 4 (N - R) + in bf16 this rank's reduced ones 4 N / W
               + buckets 4 R (twice when reduction overlaps) + a copy of a bucket 4 R
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

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


def reduction(parameters: int, largest: int, world: int, precision: str, ds_config: dict[str, Any]) -> Memory:
    """While gradients are reduced. `largest`: elements of the largest parameter, which may be more than a bucket."""
    width, zero = DTYPES[precision].itemsize, ds_config['zero_optimization']
    bucket = int(zero['reduce_bucket_size'])
    buffers = 2 if zero.get('overlap_comm') else 1
    filled = min(max(bucket, largest), parameters)
    own = 4 * -(-parameters // world) if width < 4 else 0  # fp32: narrowed from the bucket as the others are freed
    communication = 4 * bucket * buffers + (4 * filled if zero.get('reduce_scatter') else 0)
    optimizer = 12 * -(-parameters // world)
    return Memory('reduction', width * parameters, optimizer, 4 * (parameters - filled) + own, 0, 0, communication)


def highest(moments: list[Memory]) -> Memory:
    return max(moments, key=lambda memory: memory.total)
