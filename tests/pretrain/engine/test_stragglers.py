"""Which rank is slow."""

from __future__ import annotations

import pytest

from pretrain.engine.stragglers import outliers


@pytest.mark.parametrize(
    ('seconds', 'slow'),
    [
        ([1.0], []),
        ([1.0, 1.9], []),
        ([1.0, 2.1], [1]),
        ([1.0, 1.1, 0.9, 5.0], [3]),
        ([5.0, 1.1, 0.9, 5.0, 1.0, 1.0], [0, 3]),
        ([5.0, 5.0, 5.0, 1.0], []),
    ],
)
def test_more_than_twice_the_median_of_the_others(seconds: list[float], slow: list[int]) -> None:
    found = outliers([(value, f'host{rank}') for rank, value in enumerate(seconds)], 2.0)
    assert [rank for rank, *_ in found] == slow
    assert all(host == f'host{rank}' and mine == seconds[rank] for rank, host, mine, _ in found)
