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
            picked = torch.cat(
                [choose(x, y, scale, keys, keys[:, 1:], marks, point.expand(1).double(), range(row, row + 1)) for point in grid[::20]]
            )
            allowed = [j for j in range(N) if j != row and {row, j} not in ({0, 3}, {1, 2})]
            likeness = torch.stack([x[row] @ y[j] if mark == TEXT else y[row] @ x[j] for j in allowed])
            wanted = torch.softmax(3 * likeness, 0)
            shares = torch.tensor([float((picked == j).float().mean()) for j in allowed])
            torch.testing.assert_close(shares, wanted, atol=0.01, rtol=0)
            assert set(picked.tolist()) <= set(allowed)


def test_what_stays() -> None:
    x, y, keys = batch()
    marks = torch.tensor([KEEP, TEXT] * 3)
    chosen = choose(x, y, torch.tensor([10.0]), keys, keys[:, 1:], marks, torch.full((N,), 0.999999), range(N))
    assert ((chosen < 0) == (marks == KEEP)).all() and (chosen < N).all()
    same = torch.zeros_like(keys)
    chosen = choose(x, y, torch.tensor([10.0]), same, same[:, 1:], marks, torch.rand(N), range(N))
    assert (chosen == -1).all(), 'nothing could be a negative'


def test_a_rank_chooses_as_all_would() -> None:
    x, y, keys = batch(1)
    scale, captions = torch.tensor([5.0]), keys[:, 1:]
    marks, draws = torch.tensor([TEXT, PICTURE] * 3), torch.rand(N, generator=torch.Generator().manual_seed(2))
    whole = choose(x, y, scale, keys, captions, marks, draws, range(N))
    parts = [choose(x, y, scale, keys, captions, marks, draws[low : low + 2], range(low, low + 2)) for low in range(0, N, 2)]
    assert torch.equal(torch.cat(parts), whole)


def test_a_caption_that_was_not_drawn_is_true_all_the_same() -> None:
    """Row 0 is drawn "a dog" and also has "ein Hund", which is what row 1 says: neither its text nor its picture may be a negative."""
    x, y, keys = batch(3)
    captions = keys[:, 1:].repeat(1, 2)
    captions[0, 1] = keys[1, 1]
    grid = (torch.arange(400) + 0.5) / 400

    def picked(row: int, mark: int) -> set[int]:
        marks = torch.full((N,), mark)
        chosen = [choose(x, y, torch.tensor([1.0]), keys, captions, marks, point.expand(1).double(), range(row, row + 1)) for point in grid]
        return set(torch.cat(chosen).tolist())

    assert picked(0, TEXT) == {4, 5} and picked(0, PICTURE) == {1, 2, 4, 5}
    assert picked(1, TEXT) == {0, 3, 4, 5} and picked(1, PICTURE) == {3, 4, 5}
