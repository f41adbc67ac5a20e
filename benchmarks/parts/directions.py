"""Which directions of the paper's Table 3 show in runs of several seeds, with all tasks and without one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from downstream.paper import ablation

ALL = 'all'
LEFT_OUT = ('itm', 'mlm', 'cmcl', 'mmmt', 'vplm')  # in the paper's order
NAMES = {ALL: 'all tasks', 'itm': 'w/o ITM', 'mlm': 'w/o MLM', 'cmcl': 'w/o CMCL', 'mmmt': 'w/o mMMT', 'vplm': 'w/o vPLM'}
COLUMNS = {
    'xgqa_en': 'xGQA EN', 'xgqa_7avg': 'xGQA 7 avg', 'multi30k_mR': 'Multi30k mR', 'coco_B4': 'COCO B@4', 'coco_CIDEr': 'COCO CIDEr',
    'multi30k_ende_B4': 'Multi30k MT B@4', 'mean': 'mean',
}  # fmt: skip
SHOWS, CONTRARY, NOISE, NONE = 'shows', 'does not show', 'within noise', 'no direction'
ERRORS = 2.0  # standard errors that a difference must exceed

Figures = dict[str, dict[str, list[float]]]  # ALL, or the task left out -> column or measure -> a value a seed


@dataclass(frozen=True)
class Difference:
    """Of a variant and all tasks: each seed's two runs have the samples and the first weights in common."""

    values: list[float]  # without minus with all tasks, one a seed

    @property
    def mean(self) -> float:
        return float(np.mean(self.values))

    @property
    def error(self) -> float:
        """Standard error of the mean; infinite for less than two seeds."""
        return deviation(self.values) / len(self.values) ** 0.5

    @property
    def sign(self) -> int:
        """0 for what is within noise."""
        return 0 if abs(self.mean) <= ERRORS * self.error else 1 if self.mean > 0 else -1


@dataclass(frozen=True)
class Direction:
    """A cell of Table 3 beside ours."""

    variant: str
    column: str
    paper: float  # without minus with all tasks
    ours: Difference
    floored: bool  # neither of our two figures is above the floor, so that their difference says nothing of the task

    @property
    def verdict(self) -> str:
        if not self.paper:
            return NONE
        if self.floored or not self.ours.sign:
            return NOISE
        return SHOWS if self.ours.sign == np.sign(self.paper) else CONTRARY


def deviation(values: list[float]) -> float:
    """Standard deviation of the sample; infinite for a single value."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else float('inf')


def compare(figures: Figures, variant: str, column: str) -> Difference:
    """A variant with all tasks."""
    return Difference([left - whole for left, whole in zip(figures[variant][column], figures[ALL][column], strict=True)])


def directions(figures: Figures, floors: Mapping[str, float]) -> list[Direction]:
    """Every cell that there is a figure for."""
    paper, found = ablation(), []
    for variant in (task for task in LEFT_OUT if task in figures):
        for column in (name for name in COLUMNS if name in figures[ALL]):
            highest = max(float(np.mean(figures[name][column])) for name in (ALL, variant))
            floored = column in floors and highest <= floors[column]
            told = round(paper[variant][column] - paper[ALL][column], 2)
            found.append(Direction(variant, column, told, compare(figures, variant, column), floored))
    return found


def counted(found: list[Direction]) -> dict[str, Any]:
    """The JSON line."""
    asked = [cell for cell in found if cell.verdict != NONE]
    shown = sum(cell.verdict == SHOWS for cell in asked)
    what = "directions of the paper's Table 3 that show by two standard errors; peer: all of them that were evaluated"
    counts = {verdict: sum(cell.verdict == verdict for cell in asked) for verdict in (SHOWS, CONTRARY, NOISE)}
    return {
        'benchmark': 'ablation',
        'ratio': shown / max(1, len(asked)),
        'ours': shown,
        'peer': len(asked),
        'what': what,
        'verdicts': counts,
    }
