"""What holds of any order of records."""

from __future__ import annotations

from pretrain.data.order import TaskOrder
from pretrain.data.shared_order import SharedOrder


def names(order: TaskOrder | SharedOrder, step: int) -> list[tuple[str, int, int]]:
    """Stream, record and epoch of every position of a step."""
    return [(located.stream.name, located.record, located.epoch) for located in list(order.batch(step))]


def check_steps(walked: TaskOrder | SharedOrder, direct: TaskOrder | SharedOrder, other: TaskOrder | SharedOrder) -> None:
    """`direct`, made anew, has at a late step what `walked` has after the steps before it; `other`, of another seed, has not."""
    batches = [names(walked, step) for step in range(41_320, 41_330)]
    assert names(direct, 41_327) == batches[7] != names(other, 41_327)
