from __future__ import annotations

import numpy as np
import pytest

from pretrain.data.interleave import MAX_CYCLE, Interleave, cycle_quotas

WEIGHTS = [50.0, 30.0, 12.0, 7.9, 0.1, 0.0, 0.001]
BLOCK = 32


@pytest.fixture
def mix() -> Interleave:
    return Interleave(1, 'mlm', WEIGHTS, BLOCK)


def test_draw_is_the_number_of_earlier_positions_of_the_stream(mix: Interleave) -> None:
    streams, draws = mix.locate_range(0, 3 * mix.cycle * BLOCK + 5)
    seen = [0] * len(WEIGHTS)
    for stream, draw in zip(streams.tolist(), draws.tolist(), strict=True):
        assert draw == seen[stream]
        seen[stream] += 1


def test_any_position_is_found_without_the_earlier_ones(mix: Interleave) -> None:
    position = 41_327 * 16
    streams, draws = mix.locate_range(0, position + 40)
    other = Interleave(1, 'mlm', WEIGHTS, BLOCK)
    for offset in (0, 1, 31, 32, 39):
        assert other.locate(position + offset) == (streams[position + offset], draws[position + offset])
    np.testing.assert_array_equal(other.locate_range(position, position + 40), (streams[position:], draws[position:]))
    assert other.locate(10**15)[1] >= 0


def test_quotas_are_exact_in_every_cycle_and_even_over_its_blocks(mix: Interleave) -> None:
    for cycle in range(3):
        start = cycle * mix.cycle * BLOCK
        streams, _ = mix.locate_range(start, start + mix.cycle * BLOCK)
        blocks = np.stack([np.bincount(block, minlength=len(WEIGHTS)) for block in streams.reshape(mix.cycle, BLOCK)])
        np.testing.assert_array_equal(blocks.sum(0), mix.quotas)
        ideal = mix.quotas / mix.cycle
        assert ((blocks >= np.floor(ideal)) & (blocks <= np.ceil(ideal))).all()


def test_quotas_follow_the_weights_and_no_stream_is_rounded_to_nothing(mix: Interleave) -> None:
    assert mix.cycle == MAX_CYCLE
    positions = mix.cycle * BLOCK
    shares = np.array(WEIGHTS) / sum(WEIGHTS)
    assert mix.quotas.sum() == positions
    assert abs(mix.quotas - shares * positions).max() <= 1
    assert mix.quotas[5] == 0 and mix.quotas[6] == 1


def test_more_streams_than_positions_in_a_block() -> None:
    mix = Interleave(0, 'plm', [1.0] * 1000, 8)
    assert (np.bincount(mix.locate_range(0, mix.cycle * 8)[0]) >= 1).all()


def test_many_rare_streams_are_paid_by_the_large_ones() -> None:
    quotas = cycle_quotas(np.array([0.9, 0.0999, *[1e-6] * 100]), 200)
    assert quotas.sum() == 200 and (quotas[2:] == 1).all() and quotas[:2].tolist() == [90, 10]


def test_a_single_stream_is_every_position() -> None:
    assert [Interleave(0, 'a', [3.0], 4).locate(position) for position in (0, 3, 4, 1000)] == [(0, 0), (0, 3), (0, 4), (0, 1000)]


def test_placement_depends_on_seed_and_purpose() -> None:
    placed = {tuple(Interleave(seed, task, WEIGHTS, BLOCK).locate_range(0, 64)[0]) for seed in (0, 1) for task in ('cmcl', 'itm')}
    assert len(placed) == 4
