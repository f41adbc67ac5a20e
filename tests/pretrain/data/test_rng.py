from __future__ import annotations

import itertools

import numpy as np
import pytest

from pretrain.data.rng import generator, hash63, permutation_keys, permute


def test_a_generator_depends_on_its_arguments_alone() -> None:
    arguments = [(0, 'a', 1, 2), (1, 'a', 1, 2), (0, 'b', 1, 2), (0, 'a', 2, 1), (0, 'a', 1, 3), (0, 'a', 1)]
    drawn = [tuple(generator(*each).integers(0, 1 << 62, 4).tolist()) for each in arguments]  # type: ignore[arg-type]
    assert drawn == [tuple(generator(*each).integers(0, 1 << 62, 4).tolist()) for each in arguments]  # type: ignore[arg-type]
    assert len(set(drawn)) == len(arguments)


def test_neighbouring_positions_do_not_overlap() -> None:
    """A generator's own draws advance the lowest counter word only: long draws never run into the next position's numbers."""
    numbers = np.concatenate([generator(0, 'a', 5, position).integers(0, 1 << 62, 1000) for position in range(20)])
    assert len(np.unique(numbers)) == len(numbers)


@pytest.mark.parametrize('size', [1, 2, 3, 4, 15, 16, 17, 63, 64, 65, 1000])
def test_permute_is_a_permutation(size: int) -> None:
    keys = permutation_keys(0, 'a')
    assert sorted(permute(index, size, keys) for index in range(size)) == list(range(size))


def test_permutations_of_a_small_range_are_equally_frequent() -> None:
    counts = dict.fromkeys(itertools.permutations(range(4)), 0)
    for number in range(2400):
        keys = permutation_keys(0, 'a', number)
        counts[tuple(permute(index, 4, keys) for index in range(4))] += 1
    expected = 2400 / 24
    chi_squared = sum((count - expected) ** 2 / expected for count in counts.values())
    assert chi_squared < 50  # 23 degrees of freedom: p = 0.001 at 49.7


def test_hash63_is_the_same_in_every_process() -> None:
    assert hash63('a') == hash63(b'a') == 1702698405120146464
    assert 0 <= hash63('b') < 1 << 63
