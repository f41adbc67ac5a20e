"""The choice of a hard negative; that the right picture or text takes its place at any number of ranks is in tests/distributed."""
from __future__ import annotations

import torch
import torch.nn.functional as F

from pretrain.data.batch import KEEP, PICTURE, TEXT
from pretrain.engine.hard_negatives import choose

N = 6


def batch(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Features of pictures and texts, and identities: rows 0 and 3 share a picture, rows 1 and 2 a text."""
    generator = torch.Generator().manual_seed(seed)
    x, y = (F.normalize(torch.randn(N, 4, generator=generator), dim=1) for _ in range(2))
    keys = torch.stack([torch.arange(N), torch.arange(N) + 100], 1)
    keys[3, 0], keys[2, 1] = keys[0, 0], keys[1, 1]
    return x, y, keys


def test_similar_ones_are_drawn_more_often_and_doubles_never() -> None:
    x, y, keys = batch()
    scale, draws = torch.tensor([3.0]), 4000
    for mark in (TEXT, PICTURE):
        marks = torch.full((N,), mark)
        grid = (torch.arange(draws) + 0.5) / draws  # every part of [0, 1) alike
        for row in range(N):
            picked = torch.cat([
                choose(x, y, scale, keys, marks, point.expand(1).double(), range(row, row + 1)) for point in grid[::20]
            ])
            allowed = [j for j in range(N) if j != row and {row, j} not in ({0, 3}, {1, 2})]
            likeness = torch.stack([x[row] @ y[j] if mark == TEXT else y[row] @ x[j] for j in allowed])
            wanted = torch.softmax(3 * likeness, 0)
            shares = torch.tensor([float((picked == j).float().mean()) for j in allowed])
            torch.testing.assert_close(shares, wanted, atol=0.01, rtol=0)
            assert set(picked.tolist()) <= set(allowed)


def test_what_stays() -> None:
    x, y, keys = batch()
    marks = torch.tensor([KEEP, TEXT] * 3)
    chosen = choose(x, y, torch.tensor([10.0]), keys, marks, torch.full((N,), 0.999999), range(N))
    assert ((chosen < 0) == (marks == KEEP)).all() and (chosen < N).all()
    same = torch.zeros_like(keys)
    assert (choose(x, y, torch.tensor([10.0]), same, marks, torch.rand(N), range(N)) == -1).all(), 'nothing could be a negative'


def test_a_rank_chooses_as_all_would() -> None:
    x, y, keys = batch(1)
    marks, draws = torch.tensor([TEXT, PICTURE] * 3), torch.rand(N, generator=torch.Generator().manual_seed(2))
    whole = choose(x, y, torch.tensor([5.0]), keys, marks, draws, range(N))
    parts = [choose(x, y, torch.tensor([5.0]), keys, marks, draws[low : low + 2], range(low, low + 2)) for low in range(0, N, 2)]
    assert torch.equal(torch.cat(parts), whole)
