"""The bandwidth of an all-reduce: within each node, between pairs of nodes, over all; and which node a bad figure points at."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from statistics import median
from typing import Any, TypeVar

import torch
import torch.distributed as dist

WARM_UP, ROUNDS = 2, 5
SLOW = 0.5  # share of the median below which a node counts as slow

Key = TypeVar('Key')
Pair = tuple[str, str]


@dataclass(frozen=True)
class Measured:
    """Bus bandwidths in GB/s by name of node; None where the all-reduce failed or did not end in time."""

    nodes: dict[str, float | None]  # within a node; empty with one process a node
    pairs: dict[Pair, float | None]
    all: float | None


def measure(names: list[str], per_node: int, device: torch.device, megabytes: int, timeout: timedelta) -> Measured:
    """Collective: every rank calls it, and gets the figures that it took part in. Rank = number of the node x per_node + local rank.

    Pairs are neighbours on a ring, in rounds in which no node is in two of them.
    """
    buffer = torch.zeros(megabytes * 2**20 // 4, device=device)
    rank, world = dist.get_rank(), dist.get_world_size()
    own = rank // per_node
    ranks = [list(range(node * per_node, (node + 1) * per_node)) for node in range(len(names))]
    within: dict[str, float | None] = {}
    if per_node > 1:
        groups = [dist.new_group(group, timeout) for group in ranks]
        within[names[own]] = _bandwidth(groups[own], buffer, per_node)
    pairs: dict[Pair, float | None] = {}
    for first, second in (pair for matching in ring_rounds(len(names)) for pair in matching):
        group = dist.new_group(ranks[first] + ranks[second], timeout)
        if own in (first, second):
            pairs[names[first], names[second]] = _bandwidth(group, buffer, 2 * per_node)
    return Measured(within, pairs, _bandwidth(dist.new_group(timeout=timeout), buffer, world) if world > 1 else None)


def ring_rounds(nodes: int) -> list[list[tuple[int, int]]]:
    """Every node with its two neighbours on a ring; the pairs of one round are disjoint, and are measured at the same time."""
    if nodes < 2:
        return []
    rounds: list[list[tuple[int, int]]] = []
    for pair in [(node, (node + 1) % nodes) for node in range(nodes if nodes > 2 else 1)]:
        place = next((done for done in rounds if not any(set(pair) & set(other) for other in done)), None)
        if place is None:
            rounds.append([pair])
        else:
            place.append(pair)
    return rounds


def _bandwidth(group: Any, buffer: torch.Tensor, world: int) -> float | None:
    """GB/s on the bus: what a ring sends and receives, 2 (n - 1) / n times the bytes (nccl-tests' PERFORMANCE.md)."""
    try:
        for _ in range(WARM_UP):
            dist.all_reduce(buffer, group=group)
        _finish(buffer)
        began = time.perf_counter()
        for _ in range(ROUNDS):
            dist.all_reduce(buffer, group=group)
        _finish(buffer)
    except RuntimeError:  # time-out, or the other side is gone
        return None
    seconds = (time.perf_counter() - began) / ROUNDS
    return 2 * (world - 1) / world * buffer.numel() * buffer.element_size() / seconds / 1e9


def _finish(buffer: torch.Tensor) -> None:
    if buffer.device.type == 'cuda':
        torch.cuda.synchronize()


def judge(nodes: Mapping[str, float | None], pairs: Mapping[Pair, float | None], minimum: float) -> dict[str, str]:
    """{node: why it is unfit}. `minimum` in GB/s; figures are also judged against each other, where there are at least three.

    A pair accuses both of its nodes. One whose other pair is good is cleared, if that leaves somebody accused.
    """
    unfit = {node: f'all-reduce within the node {said}' for node, said in _slow(nodes, minimum).items()}
    slow = _slow(pairs, minimum)
    everywhere = {node for pair in slow for node in pair if all(other in slow for other in pairs if node in other)}
    for pair, said in slow.items():
        for node in [node for node in pair if node in everywhere] or pair:
            other = pair[0] if node == pair[1] else pair[1]
            unfit.setdefault(node, f'all-reduce with {other} {said}')
    return unfit


def _slow(figures: Mapping[Key, float | None], minimum: float) -> dict[Key, str]:
    known = [value for value in figures.values() if value is not None]
    least = max(minimum, SLOW * median(known) if len(known) > 2 else 0.0)
    return {
        key: 'failed' if value is None else f'at {value:.2f} GB/s, {least:.2f} are due'
        for key, value in figures.items()
        if value is None or value < least
    }
