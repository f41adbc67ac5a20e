"""Which tasks a step trains, and which of each task's global batches it takes: a pure function of (seed, step, tasks)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pretrain.config import Config
from pretrain.data.rng import generator

BLOCK = 4096  # draws of one generator


class Part(NamedTuple):
    """One global batch of one task within a step."""

    name: str  # unique in the step: the task, or `task.2` where it is drawn for the second time
    task: str
    batch: int  # number of the task's global batch, counted from 0


class Parts:
    """The parts of every step. With `batch.merge: all` step t takes batch t of every task; with `drawn` it takes `batch.draws` batches,
    the task of each drawn uniformly and independently, and a task's batches are numbered by its draws: none is passed over.
    """

    def __init__(self, config: Config) -> None:
        self.seed, self.tasks, self.merge = config.seed, [str(task) for task in config.tasks], config.batch.merge
        self.draws = config.batch.draws or len(self.tasks)
        self._before: list[NDArray[np.int64]] = [np.zeros(len(self.tasks), np.int64)]  # draws of each task before every block

    def at(self, step: int) -> list[Part]:
        """The parts of a step of data, in the order in which all ranks work on them."""
        if self.merge == 'all':
            return [Part(task, task, step) for task in self.tasks]
        parts: list[Part] = []
        for number, batch in (self._draw(draw) for draw in range(step * self.draws, (step + 1) * self.draws)):
            task = self.tasks[number]
            times = 1 + sum(part.task == task for part in parts)
            parts.append(Part(task if times == 1 else f'{task}.{times}', task, batch))
        return parts

    def _draw(self, draw: int) -> tuple[int, int]:
        """(number of the task, earlier draws of it)."""
        block, offset = divmod(draw, BLOCK)
        while len(self._before) <= block:
            drawn = np.bincount(self._block(len(self._before) - 1), minlength=len(self.tasks))
            self._before.append(self._before[-1] + drawn)
        drawn = self._block(block)
        number = int(drawn[offset])
        return number, int(self._before[block][number]) + int(np.count_nonzero(drawn[:offset] == number))

    def _block(self, block: int) -> NDArray[np.int64]:
        return generator(self.seed, 'parts', block).integers(0, len(self.tasks), BLOCK)
