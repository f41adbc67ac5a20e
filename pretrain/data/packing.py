"""A step's tensors as one buffer.

A tensor costs a file descriptor and a mapping on its way out of a loader process; a step has about a hundred of them, and several steps are
prepared ahead. One buffer costs one, and is pinned in one go.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pretrain.data.batch import TaskBatch, Texts

StepData = dict[str, list[TaskBatch]]  # part of a step (pretrain/data/parts.py) -> micro-batches of this rank

_ALIGNMENT = 16


class _Slot(NamedTuple):
    """Where a tensor lies in the buffer."""

    start: int
    dtype: torch.dtype
    shape: tuple[int, ...]


@dataclass
class Packed:
    """`buffer` (bytes,) uint8, and the task batches with a slot in place of every tensor."""

    buffer: Tensor
    layout: dict[str, list[dict[str, Any]]]

    def pin_memory(self) -> Packed:
        return Packed(self.buffer.pin_memory(), self.layout)


def pack(data: StepData) -> Packed:
    """Copy all tensors of a step into one buffer."""
    size = sum(-(-tensor.nbytes // _ALIGNMENT) * _ALIGNMENT for batches in data.values() for batch in batches for tensor in _tensors(batch))
    buffer = torch.empty(size, dtype=torch.uint8)
    used = 0

    def place(value: Any) -> Any:
        nonlocal used
        if isinstance(value, Texts):
            return place(value.ids), place(value.lengths)
        if not isinstance(value, Tensor):
            return value
        slot = _Slot(used, value.dtype, tuple(value.shape))
        buffer[used : used + value.nbytes].view(value.dtype).copy_(value.reshape(-1))
        used += -(-value.nbytes // _ALIGNMENT) * _ALIGNMENT
        return slot

    def described(batch: TaskBatch) -> dict[str, Any]:
        return {field.name: place(getattr(batch, field.name)) for field in fields(batch)}

    return Packed(buffer, {task: [described(batch) for batch in batches] for task, batches in data.items()})


def unpack(packed: Packed) -> StepData:
    """The task batches; their tensors are views of the buffer."""

    def restore(value: Any) -> Any:
        if isinstance(value, _Slot):
            nbytes = value.dtype.itemsize * torch.Size(value.shape).numel()
            return packed.buffer[value.start : value.start + nbytes].view(value.dtype).view(value.shape)
        if isinstance(value, tuple):
            return Texts(restore(value[0]), restore(value[1]))
        return value

    def batch_of(layout: dict[str, Any]) -> TaskBatch:
        return TaskBatch(**{name: restore(value) for name, value in layout.items()})

    return {task: [batch_of(layout) for layout in layouts] for task, layouts in packed.layout.items()}


def _tensors(batch: TaskBatch) -> Iterator[Tensor]:
    for field in fields(batch):
        value = getattr(batch, field.name)
        if isinstance(value, Texts):
            yield from (value.ids, value.lengths)
        elif isinstance(value, Tensor):
            yield value
