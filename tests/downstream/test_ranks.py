"""Shares of 1 to 3 ranks: nothing is lost or repeated, also when the number does not divide; a rank that does both is found out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from downstream import ranks
from shards.errors import UserError
from tests.support.distributed import run_distributed

pytestmark = pytest.mark.launcher


def gathered(count: int) -> list[list[str]]:
    """What the ranks found for `count` examples, on this rank, and its own share."""
    ranks.join()
    own = {example: f'text {example}' for example in ranks.share(range(count))}
    return [ranks.gather(lambda: own, count), list(own.values())]


@pytest.mark.parametrize('count', [0, 1, 2, 3, 7])
def test_three_ranks(tmp_path: Path, count: int) -> None:
    every, own = run_distributed(gathered, 3, tmp_path, count)
    assert every == [f'text {example}' for example in range(count)]
    assert own == every[::3]


def test_one_process_needs_no_job() -> None:
    assert ranks.gather(lambda: {1: 'b', 0: 'a'}, 2) == ['a', 'b']
    assert ranks.world() == 1 and ranks.leads()
    assert list(ranks.share([1, 2, 3])) == [1, 2, 3]


def problem(work: Callable[[], dict[int, str]]) -> str:
    try:
        ranks.gather(work, 2)
    except (AssertionError, UserError) as error:
        return f'{type(error).__name__}: {error}'
    return ''


def meets_a_mistake() -> dict[int, str]:
    if not ranks.leads():
        raise UserError('picture 1.jpg cannot be decoded')
    return {0: 'a'}


def problems() -> list[str]:
    """Of the rank that collects: an example lost, one repeated, and a mistake that the other rank alone meets."""
    ranks.join()
    return [problem(lambda: {0: 'a'} if ranks.leads() else {}), problem(lambda: {0: 'a', 1: 'b'}), problem(meets_a_mistake)]


def test_what_is_no_result(tmp_path: Path) -> None:
    assert run_distributed(problems, 2, tmp_path) == [
        'AssertionError: 1 of 2 examples were done',
        'AssertionError: examples [0, 1] were done by two ranks',
        'UserError: picture 1.jpg cannot be decoded',
    ]
