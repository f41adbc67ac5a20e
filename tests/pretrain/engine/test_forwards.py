"""What runs together."""

from __future__ import annotations

from pretrain.data.packing import StepData
from pretrain.engine.forwards import TOGETHER, Forward, forwards, grouped
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


def groups(found: list[list[Forward]]) -> list[list[tuple[str, int]]]:
    return [[(forward.name, forward.micro) for forward in group] for group in found]


def test_what_shares_pictures_is_grouped_by_micro_batch() -> None:
    found = forwards(data(cmcl=4, clcl=8, mlm=4, mt=8, vplm=8), together=False)
    assert groups(grouped(found, True)) == [
        [('cmcl', 0), ('mlm', 0), ('vplm', 0)], [('cmcl', 1), ('mlm', 1)], [('clcl', 0)], [('mt', 0)],
    ]  # fmt: skip
    assert groups(grouped(found, False)) == [[(forward.name, forward.micro)] for forward in found]


def test_what_is_cached_is_grouped_with_what_runs_together() -> None:
    found = forwards(data(cmcl=4, clcl=4, itm=8, mt=4), together=True)
    assert groups(grouped(found, True)) == [
        [('cmcl', 0), (TOGETHER, 0)], [('cmcl', 1)], [('clcl', 0)], [('clcl', 1)], [(TOGETHER, 1)],
    ]  # fmt: skip
