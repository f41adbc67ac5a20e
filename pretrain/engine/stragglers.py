"""Finds the rank that the others wait for: each measures what it does by itself, between the points where the ranks meet."""

from __future__ import annotations

import socket
import time
from statistics import median

import torch
import torch.distributed as dist

STEPS = 20  # over which a rank is judged


class Stragglers:
    """`start` where the ranks have met, `stop` where they meet next; `slow` after each step.

    On a GPU the time is that of its kernels, not of the calls that enqueue them. Contrastive tasks meet inside themselves, so that a rank's
    time in them is partly its neighbours'.
    """

    def __init__(self, factor: float, device: torch.device, group: dist.ProcessGroup):
        self.factor, self.device, self.group = factor, device, group
        self._spans: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []
        self._seconds, self._steps, self._from = 0.0, 0, 0.0

    def start(self) -> None:
        if self.device.type == 'cuda':
            self._spans.append((torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)))
            self._spans[-1][0].record()
        self._from = time.perf_counter()

    def stop(self) -> None:
        if self.device.type == 'cuda':
            if self._spans:
                self._spans[-1][1].record()
        elif self._from:
            self._seconds += time.perf_counter() - self._from
        self._from = 0.0

    def slow(self) -> list[tuple[int, str, float, float]]:
        """After a step: every 20 steps, (rank, host, its seconds a step, the usual) of each that is slow; the same on every rank."""
        self._steps += 1
        if self._steps < STEPS:
            return []
        if self._spans:
            torch.cuda.synchronize()
            self._seconds += sum(begin.elapsed_time(end) for begin, end in self._spans) / 1000
        every: list[tuple[float, str]] = [(0.0, '')] * dist.get_world_size()
        dist.all_gather_object(every, (self._seconds / self._steps, socket.gethostname()), group=self.group)
        self._spans, self._seconds, self._steps = [], 0.0, 0
        return outliers(every, self.factor)


def outliers(every: list[tuple[float, str]], factor: float) -> list[tuple[int, str, float, float]]:
    """Ranks that take more than `factor` times the median of the others."""
    found = []
    for rank, (seconds, host) in enumerate(every):
        others = [other for number, (other, _) in enumerate(every) if number != rank]
        if others and seconds > factor * median(others):
            found.append((rank, host, seconds, median(others)))
    return found
