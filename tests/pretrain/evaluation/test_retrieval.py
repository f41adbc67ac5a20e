"""Recall against a brute-force reference that counts every order of ties."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pretrain.evaluation import retrieval
from pretrain.evaluation.retrieval import chance, image_to_text, mean_recall, text_to_image

KS = (1, 2, 5)


def brute_force(scores: NDArray[Any], right: NDArray[Any], k: int) -> float:
    """R@k of queries (rows) with a mask of right candidates, by going through the orders of the candidates with equal scores."""
    hits = []
    for row, mask in zip(scores, right, strict=True):
        if not mask.any():
            continue
        best = max(row[mask])
        ahead = int((row > best).sum())
        ties = [bool(flag) for flag, score in zip(mask, row, strict=True) if score == best]
        orders = list(permutations(ties)) if len(ties) < 7 else []
        places = max(0, k - ahead)
        hits.append(float(np.mean([any(order[:places]) for order in orders])))
    return float(np.mean(hits))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_agrees_with_brute_force(data: st.DataObject) -> None:
    images = data.draw(st.integers(1, 6), 'images')
    rows = np.array(data.draw(st.lists(st.integers(0, images - 1), min_size=1, max_size=6), 'rows'), np.int64)
    numbers = st.integers(-1, 1)  # few values: many ties
    left = np.array(data.draw(st.lists(st.tuples(numbers, numbers), min_size=len(rows), max_size=len(rows))), np.float32)
    right = np.array(data.draw(st.lists(st.tuples(numbers, numbers), min_size=images, max_size=images)), np.float32)
    scores = left @ right.T
    own = rows[:, None] == np.arange(images)
    forth, back = text_to_image(left, right, rows, KS), image_to_text(right, left, rows, KS)
    for k in KS:
        assert forth[f'R@{k}'] == pytest.approx(brute_force(scores, own, k))
        assert back[f'R@{k}'] == pytest.approx(brute_force(scores.T, own.T, k))


@pytest.mark.parametrize('captions', [1, 5])
def test_equal_scores_give_chance(captions: int) -> None:
    images, texts = np.ones((40, 8), np.float32), np.ones((40 * captions, 8), np.float32)
    rows = np.arange(len(texts)) // captions
    forth, back = chance(np.full(40, captions))
    assert text_to_image(texts, images, rows) == pytest.approx(forth)
    assert image_to_text(images, texts, rows) == pytest.approx(back)
    assert forth['R@10'] == 0.25


def test_equal_scores_give_chance_with_uneven_captions() -> None:
    """A picture without a caption asks nothing, and is in the way all the same."""
    rows = np.array([0, 0, 0, 1, 3, 3, 4, 5, 6, 7, 8, 9, 9, 9, 9])
    forth, back = chance(np.bincount(rows, minlength=10))
    images, texts = np.ones((10, 4), np.float32), np.ones((len(rows), 4), np.float32)
    assert text_to_image(texts, images, rows) == pytest.approx(forth)
    assert image_to_text(images, texts, rows) == pytest.approx(back)
    assert 1 / 15 < back['R@1'] < 4 / 15


def test_random_embeddings_are_at_chance() -> None:
    generator = np.random.default_rng(0)
    images, texts = generator.normal(size=(500, 16)).astype(np.float32), generator.normal(size=(2500, 16)).astype(np.float32)
    rows = np.arange(2500) // 5
    forth, back = chance(np.full(500, 5))
    for found, expected, queries in ((text_to_image(texts, images, rows), forth, 2500), (image_to_text(images, texts, rows), back, 500)):
        for name, value in found.items():
            # Caption queries share pictures, so their hits are not independent: six deviations of independent ones.
            assert abs(value - expected[name]) < 6 * (expected[name] / queries) ** 0.5


def test_perfect_embeddings_find_everything() -> None:
    images = np.eye(30, dtype=np.float32)
    rows = np.arange(60) // 2
    assert set(text_to_image(images[rows], images, rows).values()) == {1.0}
    assert set(image_to_text(images, images[rows], rows).values()) == {1.0}


def test_best_caption_counts() -> None:
    images = np.eye(2, dtype=np.float32)
    texts = np.array([[-1, 0], [3, 0], [2, 1]], np.float32)  # picture 0 has a caption ranked last and one ranked first
    assert image_to_text(images, texts, np.array([0, 0, 1]), (1,)) == {'R@1': 1.0}


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(1)
    images, texts = generator.normal(size=(37, 8)).astype(np.float32), generator.normal(size=(111, 8)).astype(np.float32)
    images[5] = images[6]  # ties that blocks must keep
    rows = np.arange(111) // 3
    whole = text_to_image(texts, images, rows), image_to_text(images, texts, rows)
    monkeypatch.setattr(retrieval, 'BLOCK_SCORES', 100)
    assert (text_to_image(texts, images, rows), image_to_text(images, texts, rows)) == whole


@pytest.mark.parametrize('images', [3, 40])
def test_what_is_no_number_is_a_miss(images: int) -> None:
    """Also where there are fewer candidates than places. A picture without a number is ahead of the right one."""
    pictures = np.eye(images, dtype=np.float32)
    texts, rows = pictures.copy(), np.arange(images)
    texts[1] = np.nan
    right = (images - 1) / images
    assert set(text_to_image(texts, pictures, rows).values()) == {right}
    found = image_to_text(pictures, texts, rows)
    assert (found['R@1'], found['R@5']) == (0, right)
    found = text_to_image(pictures, texts, rows)
    assert (found['R@1'], found['R@5']) == (0, right)
    lost = np.full_like(pictures, np.nan)
    for left, other in ((lost, pictures), (pictures, lost), (lost, lost)):
        assert {*text_to_image(left, other, rows).values(), *image_to_text(left, other, rows).values()} == {0}


def test_mean_recall() -> None:
    assert mean_recall({'R@1': 0.1, 'R@5': 0.2, 'R@10': 0.3}, {'R@1': 0.4, 'R@5': 0.5, 'R@10': 0.6}) == pytest.approx(0.35)
