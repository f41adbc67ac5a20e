"""What runs together."""

from __future__ import annotations

from pretrain.data.packing import StepData
from pretrain.engine.forwards import TOGETHER, forwards
from tests.support.synthetic import micro_batches, task_batch


def data(**micro: int) -> StepData:
    return {task: micro_batches(task_batch(task), 0, 1, size) for task, size in micro.items()}


def test_apart_each_takes_a_micro_batch_of_one_part() -> None:
    found = forwards(data(cmcl=4, mlm=8, mt=4), together=False)
    assert [(forward.name, forward.micro, forward.cached) for forward in found] == [
        ('cmcl', 0, True), ('cmcl', 1, False), ('mlm', 0, False), ('mt', 0, False), ('mt', 1, False),
    ]  # fmt: skip


def test_together_each_takes_one_of_every_part_but_for_what_is_cached() -> None:
    found = forwards(data(cmcl=4, clcl=8, mlm=8, mt=4), together=True)
    assert [(forward.name, forward.micro, forward.cached, list(forward.batches)) for forward in found] == [
        ('cmcl', 0, True, ['cmcl']), ('cmcl', 1, False, ['cmcl']),
        (TOGETHER, 0, False, ['clcl', 'mlm', 'mt']), (TOGETHER, 1, False, ['mt']),
    ]  # fmt: skip
