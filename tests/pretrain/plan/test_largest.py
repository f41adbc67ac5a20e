"""The largest micro-batch: what is found fits, and hardly more does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pretrain.config import Config, load_config
from pretrain.plan import largest as module
from pretrain.plan.batches import Shape
from pretrain.plan.cluster import Cluster
from pretrain.plan.estimate import Estimate, estimate
from pretrain.plan.largest import FIT_MOST, FIT_TRACES, FIT_WITHIN, fitting, largest, largest_batches
from tests.pretrain.plan.test_plan import SETTINGS

# Buckets that are smaller than what tasks keep.
SMALL: dict[str, Any] = {
    'stage': 2, 'contiguous_gradients': True, 'overlap_comm': True, 'reduce_scatter': True, 'reduce_bucket_size': 1000,
}  # fmt: skip


def noted(size_of: Callable[[int], int]) -> tuple[Callable[[int], int], dict[int, int]]:
    known: dict[int, int] = {}

    def peak(rows: int) -> int:
        known.setdefault(rows, size_of(rows))
        return known[rows]

    return peak, known


@pytest.mark.parametrize('room', [4_000, 90_000, 3_000_000, 90_000_000, 10**9])
@pytest.mark.parametrize('square', [0, 1])
def test_what_is_found_was_tried_and_is_nearly_the_largest(room: int, square: int) -> None:
    """Of memory that grows with the rows, or with their square, as a contrast's does; beyond the sizes that are tried first too."""

    def bytes_of(rows: int) -> int:
        return 300 + 700 * rows + square * rows * rows

    most = max(rows for rows in (min(FIT_MOST, round((room - 300) / 700)), *range(40_000)) if bytes_of(rows) <= room)
    peak, known = noted(bytes_of)
    found = largest(peak, room, known)
    assert found in known and most * (1 - FIT_WITHIN) - 1 <= found <= most and len(known) <= FIT_TRACES + 7


def test_memory_that_does_not_grow_ever_faster_is_not_guessed() -> None:
    """Such as a buffer that is there from some size on: the straight line would miss it."""
    peak, known = noted(lambda rows: 100 * rows + (50_000 if rows > 100 else 0))
    found = largest(peak, 60_000, known)
    assert known[found] <= 60_000 and 90 <= found <= 100


def test_nothing_fits() -> None:
    peak, known = noted(lambda rows: 1000 + rows)
    assert largest(peak, 500, known) == 0


def test_a_line_is_followed_between_two_sizes() -> None:
    assert fitting({16: 100, 32: 180}, 150) == 26


@pytest.mark.parametrize(
    ('settings', 'recompute'),
    [(['batch.together=false'], False), (['batch.together=true'], True), (['batch.together=false', 'mixture.share_images=true'], False),
     (['batch.together=true', 'batch.merge=drawn', 'batch.draws=2'], False), (['batch.together=false', 'kernels.token_loss=torch'], True)],
    ids=['apart', 'together', 'shared', 'drawn', 'plain loss'],
)  # fmt: skip
def test_a_plan_of_the_largest_micro_batch_fits(monkeypatch: pytest.MonkeyPatch, settings: list[str], recompute: bool) -> None:
    """However tasks run; and one of a tenth more does not."""
    monkeypatch.setattr(module, 'CAPACITIES', (0.2,))
    cluster, tasks = Cluster(gpus=2), ['tasks=[cmcl, mmmt]', f'model.recompute={str(recompute).lower()}']

    def planned(*more: str) -> tuple[Config, Estimate]:
        config = load_config('configs/sample.yaml', [*SETTINGS, *tasks, *settings, *more])
        return config, estimate(config, 500, 2, Shape.longest(config), {'zero_optimization': SMALL, 'data_types': {}}, gpu=True)

    def total(micro: int) -> int:
        return planned(f'batch.global={2 * micro}', f'batch.micro={micro}')[1].memory.total

    config, full = planned()
    (row,) = largest_batches(config, 500, cluster, full, recompute)
    assert row['micro'] > 16 and total(row['micro']) <= 0.2e9 * (1 - cluster.reserve) < total(round(row['micro'] * 1.1))
