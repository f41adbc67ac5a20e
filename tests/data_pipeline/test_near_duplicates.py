"""MinHash bands against the true Jaccard similarity."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from data_pipeline.near_duplicates import BandFiles, band_keys, bands, mark_near


def similarity(one: str, other: str) -> float:
    a, b = ({text[i : i + 5] for i in range(len(text) - 4)} for text in (one, other))
    return len(a & b) / len(a | b)


def changed(text: str, share: float, chance: random.Random) -> str:
    return ''.join(chance.choice('xyz') if chance.random() < share else char for char in text)


@pytest.mark.parametrize('threshold', [0.5, 0.8])
def test_bands_find_what_is_similar(threshold: float) -> None:
    chance = random.Random(0)
    found: dict[bool, list[bool]] = {True: [], False: []}
    for _ in range(300):
        text = ''.join(chance.choice('abcdefghijklmnopqrstuvw') for _ in range(400))
        other = changed(text, chance.choice([0.002, 0.01, 0.03, 0.1, 0.2]), chance)
        true = similarity(text, other)
        if abs(true - threshold) > 0.09:
            one, two = band_keys(text, threshold), band_keys(other, threshold)
            found[true > threshold].append(any(a == b for a, b in zip(one, two, strict=True)))
    assert all(len(some) > 30 for some in found.values())
    assert sum(found[True]) > 0.9 * len(found[True])
    assert sum(found[False]) < 0.15 * len(found[False])


def test_case_space_and_punctuation_do_not_count() -> None:
    assert band_keys('Ein Hund, der bellt.', 0.8) == band_keys('ein hund der  bellt', 0.8)
    assert band_keys('', 0.8) == band_keys('...', 0.8)
    assert len(band_keys('x', 0.8)) == bands(0.8)[0]


def test_the_first_stays(tmp_path: Path) -> None:
    fox = 'The quick brown fox jumps over the lazy dog'
    texts = [[f'{fox} today', 'nothing of this'], [f'{fox}, today!', 'b']]
    for number, some in enumerate(texts):
        (tmp_path / str(number)).mkdir()
        with BandFiles(tmp_path / str(number), 0.8) as files:
            for text in some:
                files.append(text)
    marks = mark_near([tmp_path / '0', tmp_path / '1'], 0.8, tmp_path)
    assert marks is not None
    assert [marks.of(0).tolist(), marks.of(1).tolist()] == [[False, False], [True, False]]
    assert mark_near([tmp_path / '0'], 0, tmp_path) is None
