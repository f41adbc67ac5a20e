"""Which updates are not made, and when a run goes back to a checkpoint and passes over a window of data.

The loss of the global batch is known, and the same on every rank, before the update: all ranks judge alike one that is not finite, or
jumps. What the judgement depends on is part of every checkpoint, so a resumed run judges as an unbroken one.
"""

from __future__ import annotations

import math
from collections import deque
from statistics import median
from typing import Any

from pretrain.config import Recovery as Options
from pretrain.data.order import data_step, merged

WINDOW = 64  # losses of applied updates that a jump is measured against
ENOUGH = 16  # as many must be there

Window = tuple[int, int]


class Recovery:
    """The judge of a run."""

    def __init__(self, options: Options):
        self.options = options
        self.skip: list[Window] = []  # of data, [first, last): passed over
        self.recent: dict[str, deque[float]] = {}  # task -> losses of applied updates
        self.skipped = 0  # updates that were not made
        self.streak = 0  # the last of them in a row, up to the last step
        self.rollbacks = 0  # since the last checkpoint that was written

    def judge(self, losses: dict[str, float]) -> str | None:
        """Why the update of global batches with these losses, by task, must not be made; None when it may."""
        wild = [task for task, loss in losses.items() if not math.isfinite(loss)]
        if wild:
            return f'the loss of {", ".join(wild)} is not finite'
        usual = {task: median(self.recent[task]) for task in losses if len(self.recent.get(task, ())) >= ENOUGH}
        if self.options.spike and usual:  # a step may train some of the tasks only: each is compared with itself
            above = {task: losses[task] - usual[task] for task in usual}
            mean, worst = sum(above.values()) / len(above), max(above, key=lambda task: above[task])
            if mean > self.options.spike:
                return f'the loss jumped by {mean:.2f}, that of {worst} most, from {usual[worst]:.2f} to {losses[worst]:.2f}'
        return None

    def note(self, losses: dict[str, float], skipped: bool) -> bool:
        """Take note of a step; returns whether it is time to go back."""
        if not skipped:
            self.streak = 0
            for task, loss in losses.items():
                self.recent.setdefault(task, deque(maxlen=WINDOW)).append(loss)
            return False
        self.skipped += 1
        self.streak += 1
        return self.streak >= self.options.patience

    def pass_over(self, done: int, checkpoint: int) -> Window:
        """Go back to the checkpoint of step `checkpoint` after `done` steps: the data of the bad steps, and of `recovery.margin` before
        them, is passed over from now on. Returns that window of data.
        """
        first = max(checkpoint, done - self.streak - self.options.margin)
        window = data_step(first, self.skip), data_step(done - 1, self.skip) + 1
        self.skip = merged([*self.skip, window])
        self.streak = 0
        self.rollbacks += 1
        return window

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        recent = {task: list(losses) for task, losses in self.recent.items()}
        return {'skip': self.skip, 'recent': recent, 'skipped': self.skipped, 'streak': self.streak}

    def load(self, state: dict[str, Any]) -> None:
        """Take over what `state` returned; nothing from a checkpoint that has none."""
        self.skip = merged(state.get('skip', []))
        self.recent = {str(task): deque(map(float, losses), maxlen=WINDOW) for task, losses in state.get('recent', {}).items()}
        self.skipped, self.streak = int(state.get('skipped', 0)), int(state.get('streak', 0))
