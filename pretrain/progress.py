"""The lines that a person follows during a run: step, losses, rate, time left. Rank 0 only."""
from __future__ import annotations

import sys
from collections import deque

from pretrain.config import Config
from pretrain.engine.step import StepResult

WINDOW = 20  # steps over which rate and losses are averaged


class Progress:
    """Prints one line every `log.every` steps, and for the first step."""

    def __init__(self, config: Config, done: int):
        self.config = config
        self.first = done + 1
        self.seconds: deque[float] = deque(maxlen=WINDOW)
        self.waits: deque[float] = deque(maxlen=WINDOW)

    def step(self, result: StepResult, done: int, lr: float, seconds: float, waited: float) -> None:
        """After a step that took `seconds`, of which `waited` for data."""
        if len(self.seconds) == 1 and done == self.first + 1:  # the first step waited for the loader to start: it says nothing of the rest
            self.seconds.clear()
            self.waits.clear()
        self.seconds.append(seconds)
        self.waits.append(waited)
        if result.skipped:
            print(f'step {done}: the update was skipped, {result.problem}', file=sys.stderr, flush=True)
        if done % self.config.log.every and done not in (self.first, self.config.steps):
            return
        mean = sum(self.seconds) / len(self.seconds)
        rate = result.size / mean
        wait = sum(self.waits) / sum(self.seconds)
        losses = ' '.join(f'{task} {loss:.3f}' for task, loss in result.losses.items())
        left = duration(mean * (self.config.steps - done))
        print(
            f'step {done}/{self.config.steps}  loss {result.total:.3f}  {losses}  lr {lr:.2e}  |g| {result.grad_norm:.2f}  '
            f'{rate:.0f} samples/s  data wait {wait:.1%}  {left} left',
            file=sys.stderr,
            flush=True,
        )


def duration(seconds: float) -> str:
    """1:02:03 or 2:03."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f'{hours}:{minute:02}:{second:02}' if hours else f'{minute}:{second:02}'
