from __future__ import annotations

import pytest

from pretrain.health.bandwidth import Pair, judge, ring_rounds

RING: dict[Pair, float | None] = {('a', 'b'): 20.0, ('b', 'c'): 21.0, ('c', 'd'): 19.0, ('d', 'a'): 20.0}


@pytest.mark.parametrize('nodes', range(2, 12))
def test_every_node_is_measured_with_both_neighbours(nodes: int) -> None:
    rounds = ring_rounds(nodes)
    pairs = [pair for matching in rounds for pair in matching]
    assert {tuple(sorted(pair)) for pair in pairs} == {tuple(sorted((node, (node + 1) % nodes))) for node in range(nodes)}
    assert len(pairs) == (1 if nodes == 2 else nodes) and len(rounds) <= 3
    for matching in rounds:
        members = [node for pair in matching for node in pair]
        assert len(members) == len(set(members))


def test_one_node_has_no_pairs() -> None:
    assert ring_rounds(1) == []


def test_a_slow_node_is_named_and_its_neighbours_are_not() -> None:
    slow = {**RING, ('b', 'c'): 4.0, ('c', 'd'): 5.0}
    assert judge({}, slow, 8.0) == {'c': 'all-reduce with b at 4.00 GB/s, 8.00 are due'}
    assert judge({}, RING, 0.0) == {}


def test_against_the_others_without_a_minimum() -> None:
    assert judge({}, {**RING, ('b', 'c'): 4.0}, 0.0) == {  # one link of two: either end may be the reason
        'b': 'all-reduce with c at 4.00 GB/s, 9.75 are due',
        'c': 'all-reduce with b at 4.00 GB/s, 9.75 are due',
    }
    within = {'a': 100.0, 'b': 98.0, 'c': 30.0, 'd': 99.0}
    assert judge(within, RING, 0.0) == {'c': 'all-reduce within the node at 30.00 GB/s, 49.25 are due'}


def test_a_node_whose_all_reduce_fails() -> None:
    failed = {**RING, ('d', 'a'): None, ('a', 'b'): None}
    assert judge({}, failed, 0.0) == {'a': 'all-reduce with b failed'}


def test_two_nodes_are_judged_by_the_minimum_only() -> None:
    assert judge({}, {('a', 'b'): 1.0}, 0.0) == {}
    assert set(judge({}, {('a', 'b'): 1.0}, 2.0)) == {'a', 'b'}
