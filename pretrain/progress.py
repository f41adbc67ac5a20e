"""What is told of every step: the line of metrics.jsonl, and the one that a person follows on the terminal. Rank 0 only."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pretrain.config import Config
from pretrain.terminal import is_live, say, show

if TYPE_CHECKING:  # imports torch, which the report need not wait for
    from pretrain.engine.step import StepResult

WINDOW = 20  # steps over which rate, waiting and utilisation are averaged


def step_line(result: StepResult, done: int, lr: float, scale: float, seconds: float, waited: float, peak: float | None) -> dict[str, Any]:
    """A line of metrics.jsonl (docs/train.md): of a step that took `seconds` on this rank, on processors that do `peak` FLOP/s at most.
    `waited`: seconds for which some rank waited for data, the longest; it may have begun before this one.
    """
    return {
        'step': done,
        'loss': {**result.losses, 'total': result.total},
        'lr': lr,
        'grad_norm': result.grad_norm,
        'samples': result.samples,
        'time': round(time.time(), 3),
        'seconds': round(seconds, 6),
        'samples_per_s': result.size / seconds,
        'task_samples_per_s': {task: number / seconds for task, number in result.samples_of.items()},
        'skipped': result.skipped,
        'data_wait': min(waited / seconds, 1.0),
        'flops': result.flops,
        'utilisation': None if peak is None else result.flops / seconds / peak,
        'logit_scale': scale,
        'tokens': result.tokens,
        'targets': result.targets,
        'examples': result.examples,
    }


@dataclass
class Standstill:
    """What the last evaluation and the last checkpoint of this process took, in seconds; 0 before there was one."""

    evaluation: float = 0.0
    stall: float = 0.0  # of training, by a checkpoint that is written beside it
    writing: float = 0.0  # of a checkpoint, from its beginning to its end

    def ahead(self, config: Config, done: int) -> float:
        """Seconds of the evaluations and checkpoints from after step `done`, whose own are still to come, to the end of the run."""
        evaluations, checkpoints = (_times(every, done, config.steps) for every in (config.eval.every, config.checkpoint.every))
        last = max(0.0, self.writing - self.stall - self.evaluation)  # the last is written beside the last evaluation, and waited for
        return evaluations * self.evaluation + checkpoints * self.stall + last


def _times(every: int, done: int, steps: int) -> int:
    """How often what is done every so many steps, and at the end, is done from step `done` on."""
    return steps // every - (done - 1) // every + (steps % every > 0)


class Progress:
    """Prints one line every `log.every` steps, and for the first step; on a terminal it draws a panel of every step instead, in the same
    place, and prints the last step's line. `skipped`: updates that were not made before this start; `standstill`: what besides steps takes
    time, as far as it was measured.
    """

    def __init__(self, config: Config, done: int, skipped: int = 0, standstill: Standstill | None = None):
        self.config, self.skipped, self.standstill = config, skipped, standstill or Standstill()
        self.first = done + 1
        self.lines: deque[dict[str, Any]] = deque(maxlen=WINDOW)

    def step(self, line: dict[str, Any], result: StepResult) -> None:
        """After a step, of which `line` is that of metrics.jsonl."""
        done = line['step']
        if len(self.lines) == 1 and done == self.first + 1:  # the first step waited for the loader to start: it says nothing of the rest
            self.lines.clear()
        self.lines.append(line)
        if result.skipped:
            self.skipped += 1
            say(f'step {done}: the update was skipped, {result.problem}')
        last = done == self.config.steps
        live = is_live() and not last
        if not live and done % self.config.log.every and done != self.first and not last:
            return
        step, speed = f'step {done}/{self.config.steps}', self._speed(done, result.size)
        loss, losses = f'loss {result.total:.3f}', [f'{task} {loss:.3f}' for task, loss in result.losses.items()]
        other = [f'lr {line["lr"]:.2e}', f'|g| {result.grad_norm:.2f}', f'temperature {1 / line["logit_scale"]:.4f}']
        if live:
            show([f'{step} ({done / self.config.steps:.0%})', *speed, loss, *losses, *other])
        else:
            say('  '.join([step, loss, ' '.join(losses), *other, *speed]))

    def _speed(self, done: int, size: int) -> list[str]:
        """Of the last steps."""
        seconds = sum(line['seconds'] for line in self.lines)
        wait = sum(line['seconds'] * line['data_wait'] for line in self.lines) / seconds
        parts = [f'{size * len(self.lines) / seconds:.0f} samples/s']
        used = [line['seconds'] * line['utilisation'] for line in self.lines if line['utilisation'] is not None]
        if used:
            parts.append(f'utilisation {sum(used) / seconds:.1%}')
        parts.append(f'data wait {wait:.1%}')
        if self.skipped:
            parts.append(f'{self.skipped} skipped')
        left = seconds / len(self.lines) * (self.config.steps - done) + self.standstill.ahead(self.config, done)
        return [*parts, f'{duration(left)} left']


def evaluating(done: int, standstill: Standstill) -> None:
    """Say that the model of step `done` is evaluated: in the panel until the result takes its place, else in a line."""
    usual = f', which took {duration(standstill.evaluation)} the last time' if standstill.evaluation else ''
    said = f'evaluating step {done} …{usual}'
    if is_live():
        show([said], at_once=True)
    else:
        say(said)


def duration(seconds: float) -> str:
    """1:02:03 or 2:03."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f'{hours}:{minute:02}:{second:02}' if hours else f'{minute}:{second:02}'
