"""A run's figures as charts: lists of series of points."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, get_args

from pretrain.boards.scalars import of_evaluation, of_event, of_metrics
from pretrain.config.tasks import Task

POINTS = 1000  # of a series at most: what a screen can show, and what keeps the page small
STYLES = {'total': -1, **{task: number for number, task in enumerate(get_args(Task))}}  # of tasks, in every chart of every run
BY_LANGUAGE = ('tokens/', 'retrieval_r10/', 'retrieval_i2t_r10/', 'heldout_', 'dev/')
Point = tuple[int, float]
Chart = dict[str, Any]


class Series:
    """Points of ascending steps. Beyond POINTS of them neighbours are joined to their mean, at the last one's step."""

    def __init__(self) -> None:
        self.points: list[Point] = []
        self.joined = 1  # steps in a point
        self._open: list[Point] = []

    def add(self, step: int, value: float) -> None:
        self._open.append((step, value))
        if len(self._open) == self.joined:
            self.points.append(_mean(self._open))
            self._open = []
        if len(self.points) == 2 * POINTS:
            self.points = [_mean(self.points[first : first + 2]) for first in range(0, len(self.points), 2)]
            self.joined *= 2

    def all(self) -> list[list[float]]:
        """[[step, value], …], six digits of each."""
        points = [*self.points, _mean(self._open)] if self._open else self.points
        return [[int(step), float(f'{value:.6g}')] for step, value in points]


def _mean(points: list[Point]) -> Point:
    return points[-1][0], sum(value for _, value in points) / len(points)


class Curves:
    """Collects the lines of a run."""

    def __init__(self) -> None:
        self.series: dict[str, Series] = {}
        self.tokens: dict[str, float] = {}
        self.skipped = 0
        self.score = 'score'  # of a development set
        self.last: dict[str, Any] = {}  # line of metrics.jsonl

    def _add(self, step: int, figures: dict[str, float]) -> None:
        for name, value in figures.items():
            self.series.setdefault(name, Series()).add(step, value)

    def metrics(self, lines: Iterable[dict[str, Any]]) -> None:
        for line in lines:
            figures, step = of_metrics(line), line['step']
            skipped = figures.pop('skipped', 0.0)
            self.skipped += int(skipped)
            for name in [name for name in figures if name.startswith('tokens/')]:
                self.tokens[name] = self.tokens.get(name, 0) + figures.pop(name)
            self._add(step, {**figures, **self.tokens, 'skipped': self.skipped})
            self.last = line

    def evaluations(self, lines: Iterable[dict[str, Any]]) -> None:
        for line in lines:
            self.score = line.get('score', self.score)
            self._add(line['step'], of_evaluation(line))

    def events(self, lines: Iterable[dict[str, Any]]) -> None:
        for line in lines:
            self._add(line.get('step', 0), of_event(line))

    def charts(self) -> list[Chart]:
        """The page's charts, without those that nothing is known of."""
        heldout = {name.removeprefix('heldout_'): name + '/' for name in self._groups('heldout_')}
        score = f'{self.score[0].upper()}{self.score[1:]} on the development set'
        found = [
            self._tasks('losses', 'Training loss', 'nats', 'loss/'),
            self._tasks('losses', 'Held-out loss, mean over languages', 'nats', 'heldout/'),
            *(self._languages('losses', f'Held-out loss of {task}, by language', 'nats', name) for task, name in heldout.items()),
            self._tasks('losses', 'Accuracy on held-out samples', '', 'accuracy/'),
            self._languages('retrieval', 'Zero-shot text to image, R@10', '', 'retrieval_r10/'),
            self._languages('retrieval', 'Zero-shot image to text, R@10', '', 'retrieval_i2t_r10/'),
            self._languages('retrieval', score, '', 'dev/'),
            self._one('optimisation', 'Learning rate', '', 'lr'),
            self._one('optimisation', 'Gradient norm before clipping', '', 'grad_norm'),
            self._one('optimisation', 'Temperature of the contrast', '', 'temperature'),
            self._one('optimisation', 'Skipped updates so far', 'updates', 'skipped'),
            self._tasks('speed', 'Samples a second', 'samples/s', 'samples_per_s/'),
            self._one('speed', "Utilisation: matrix products by the processors' peak", '', 'utilisation'),
            self._one('speed', "Data wait: share of a step's time", '', 'data_wait'),
            self._one('speed', 'Time of a step', 's', 'seconds'),
            self._chart('speed', 'Checkpoints', 's', self._group('checkpoint/'), {'stall': 1}),
            self._languages('data', 'Tokens so far, by language', 'tokens', 'tokens/'),
            self._tasks('data', 'Masks of a sample', '', 'examples/masks.'),
            self._tasks('data', 'Share of samples with a prefix', '', 'examples/prefixed.'),
            self._tasks('data', 'Negatives of a step', 'pairs', 'examples/negatives.'),
        ]
        return [chart for chart in found if chart['series']]

    def _groups(self, start: str) -> list[str]:
        return list(dict.fromkeys(name.partition('/')[0] for name in self.series if name.startswith(start)))

    def _group(self, start: str) -> dict[str, Series]:
        """By the rest of their names; `total` is the first."""
        found = sorted(self.series, key=lambda name: name != f'{start}total')
        return {name.removeprefix(start): self.series[name] for name in found if name.startswith(start)}

    def _tasks(self, tab: str, title: str, unit: str, start: str) -> Chart:
        return self._chart(tab, title, unit, self._group(start), STYLES)

    def _languages(self, tab: str, title: str, unit: str, start: str) -> Chart:
        """A language looks the same in every chart of a page."""
        every = sorted({name.partition('/')[2] for name in self.series if name.startswith(BY_LANGUAGE)})
        return self._chart(tab, title, unit, self._group(start), {language: number for number, language in enumerate(every)})

    def _one(self, tab: str, title: str, unit: str, name: str) -> Chart:
        return self._chart(tab, title, unit, {name: self.series[name]} if name in self.series else {}, {})

    def _chart(self, tab: str, title: str, unit: str, series: dict[str, Series], styles: Mapping[str, int]) -> Chart:
        """styles: name -> the number of its colour and dashes, the same wherever it is drawn (report.js); 0 where it has none."""
        joined = max((one.joined for one in series.values()), default=1)
        return {
            'tab': tab, 'title': title, 'unit': unit, 'joined': joined,
            'series': [{'name': name, 'style': styles.get(name, 0), 'points': one.all()} for name, one in series.items()],
        }  # fmt: skip
