"""Recall of image-text retrieval, exact, in bounded memory.

Ties are broken at random, in expectation: every order of equal scores is as probable, and R@k is the expected recall. So a model that
gives every pair the same score gets exactly chance, neither 0 (ties against us) nor 1 (ties for us), and the order of files plays no part.

A score that is no number is never a hit, and is ahead of all others: what a model that has diverged gives finds nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import comb

import numpy as np
from numpy.typing import NDArray

KS = (1, 5, 10)
# Scores are summed in float64 and rounded here, far below float32's resolution: equal pairs stay equal in any block of the matrix product.
DECIMALS = 9
BLOCK_SCORES = 1 << 24  # scores held at a time: 128 MB

Floats = NDArray[np.float32] | NDArray[np.float64]


def text_to_image(texts: Floats, images: Floats, rows: NDArray[np.int64], ks: tuple[int, ...] = KS) -> dict[str, float]:
    """R@k of finding each text's picture. texts (T, D), images (I, D), rows (T,): the picture of each text."""
    hits = np.zeros(len(ks))
    for start, scores in _blocks(texts, images):
        right = rows[start : start + len(scores)]
        own = np.take_along_axis(scores, right[:, None], 1)
        ahead = _ahead(scores, own)
        ties = (scores == own).sum(1)  # the right one among them, unless it is NaN
        hits += [(np.clip((k - ahead) / np.maximum(ties, 1), 0, 1) * (ties > 0)).sum() for k in ks]
    return _named(hits / len(texts), ks)


def image_to_text(images: Floats, texts: Floats, rows: NDArray[np.int64], ks: tuple[int, ...] = KS) -> dict[str, float]:
    """R@k of finding one of a picture's texts: the rank of a picture's query is that of its best caption. Shapes as in `text_to_image`."""
    hits = np.zeros(len(ks))
    queries = 0
    for start, scores in _blocks(images, texts):
        own = rows[None, :] == np.arange(start, start + len(scores))[:, None]
        asked = own.any(1)  # a picture without a caption in this language asks nothing
        queries += int(asked.sum())
        best = np.where(own, scores, -np.inf).max(1, keepdims=True, initial=-np.inf)
        ahead = _ahead(scores, best)
        equal = scores == best
        right = (equal & own).sum(1)
        wrong = equal.sum(1) - right
        for query in np.flatnonzero(asked):
            hits += [_expected_hit(k - int(ahead[query]), int(right[query]), int(wrong[query])) for k in ks]
    return _named(hits / max(1, queries), ks)


def chance(captions: NDArray[np.int64], ks: tuple[int, ...] = KS) -> tuple[dict[str, float], dict[str, float]]:
    """Expected (text->image, image->text) recall of random scores. captions (I,): how many each picture has."""
    images, texts = len(captions), int(captions.sum())
    counts, pictures = np.unique(captions[captions > 0], return_counts=True)
    shares = dict(zip(counts.tolist(), pictures / pictures.sum(), strict=True))
    back = [sum(_expected_hit(k, own, texts - own) * share for own, share in shares.items()) for k in ks]
    return _named([min(1.0, k / images) for k in ks], ks), _named(back, ks)


def mean_recall(forth: dict[str, float], back: dict[str, float]) -> float:
    """mR: the mean of the six recalls (three each way)."""
    return float(np.mean([*forth.values(), *back.values()]))


def _ahead(scores: NDArray[np.float64], own: NDArray[np.float64]) -> NDArray[np.int64]:
    """(queries,) how many candidates come before the right one. scores (queries, candidates), own (queries, 1)."""
    ahead: NDArray[np.int64] = (~(scores <= own)).sum(1)
    return ahead


def _expected_hit(places: int, right: int, wrong: int) -> float:
    """Probability that the first `places` of `right + wrong` equals in random order hold a right one (hypergeometric)."""
    if places <= 0 or not right:
        return 0.0
    if places > wrong:
        return 1.0
    return 1 - comb(wrong, places) / comb(right + wrong, places)


def _blocks(queries: Floats, candidates: Floats) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Scores of some queries with all candidates: (first query, (queries, candidates))."""
    size = max(1, BLOCK_SCORES // max(1, len(candidates)))
    columns = candidates.astype(np.float64).T
    for start in range(0, len(queries), size):
        yield start, (queries[start : start + size].astype(np.float64) @ columns).round(DECIMALS)


def _named(values: list[float] | NDArray[np.float64], ks: tuple[int, ...]) -> dict[str, float]:
    return {f'R@{k}': float(value) for k, value in zip(ks, values, strict=True)}
