"""The page of the ablation: figures beside the paper's Table 3, which of its directions show, and what more sensitive measures say."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from benchmarks.parts.directions import (
    ALL,
    COLUMNS,
    CONTRARY,
    LEFT_OUT,
    NAMES,
    NOISE,
    NONE,
    SHOWS,
    Direction,
    Figures,
    compare,
    counted,
    deviation,
)  # fmt: skip
from downstream.paper import ablation
from pretrain.config import TASKS
from shards.tables import markdown


def page(command: str, how: str, found: list[Direction], figures: Figures, measures: Figures, floors: Mapping[str, float]) -> str:
    """The page. how: a sentence on the runs behind it."""
    line, seeds = counted(found), len(found[0].ours.values)
    parts = [
        f"# The paper's Table 3 in miniature\n\n    {command}",
        f'{how} The runs of a seed begin with the same weights and have the same samples of the tasks that stay.',
        f"**{line['ours']} of the paper's {line['peer']} directions show.** A difference counts when it exceeds two standard errors, "
        'paired by seed, and one of its two figures is above the floor.' + chance(seeds),
        said(found),
        '## The columns of Table 3',
        'In percent, mean ± standard deviation over the seeds. Multi30k mR is zero-shot on `multi30k_seen` (en de fr cs); the others are '
        'fine-tuned, MT by smoothed sacreBLEU. The floors are those of who does not look at what is '
        'asked: the commonest answer, chance, the best single caption, the best single sentence.',
        figures_table(figures, floors),
        '## Directions',
        'Without the task minus with all tasks; *error* is the standard error of ours, paired by seed.',
        directions_table(found),
        '## More sensitive measures',
        'Not in the paper: held-out losses and accuracies of the tasks that stay, and recalls from texts to pictures. With all tasks: '
        'mean ± standard deviation; then the differences ± their paired standard errors, judged where they exceed two of them.',
        measures_table(measures, {loss_of(task) for task in TASKS}),
    ]
    return '\n\n'.join(parts) + '\n'


CHANCE = {2: 30, 3: 18}  # seeds -> percent of differences without a cause that exceed two standard errors: Student's t


def chance(seeds: int) -> str:
    """How often noise alone passes for a difference."""
    cases = CHANCE.get(seeds)
    return f' Of {seeds} seeds, noise alone does so in {cases} cases of 100, half of them in the direction of the paper.' if cases else ''


def loss_of(task: str) -> str:
    """The name of a measure: lower is better."""
    return f'{task}, held-out loss'


def figures_table(figures: Figures, floors: Mapping[str, float]) -> str:
    """Ours, mean ± standard deviation over the seeds, above the paper's; the floors last."""
    paper, columns = ablation(), [name for name in COLUMNS if name in figures[ALL]]
    rows = []
    for variant in figures:
        rows.append([f'**{NAMES[variant]}**', *(spread(figures[variant][column], 1) for column in columns)])
        rows.append(["the paper's", *(f'{paper[variant][column]:.2f}' for column in columns)])
    rows.append(['floor', *(f'{floors[column]:.1f}' if column in floors else '-' for column in columns)])
    return markdown(['pre-trained with', *(COLUMNS[column] for column in columns)], rows)


def directions_table(found: list[Direction]) -> str:
    """A line for each cell."""
    rows = []
    for cell in found:
        verdict = f'{cell.verdict} (at floor)' if cell.floored and cell.verdict == NOISE else cell.verdict
        figures = [f'{cell.paper:+.2f}', f'{cell.ours.mean:+.2f}', f'{cell.ours.error:.2f}']
        rows.append([NAMES[cell.variant], COLUMNS[cell.column], *figures, verdict])
    return markdown(['', 'column', "the paper's", 'ours', 'error', 'direction'], rows)


def said(found: list[Direction]) -> str:
    """The directions in words."""
    lines = []
    for verdict, title in ((SHOWS, 'Shows'), (CONTRARY, 'Does not show: the opposite is seen'), (NOISE, 'Within noise')):
        cells = [cell for cell in found if cell.verdict == verdict]
        names = (f'{NAMES[variant]}: {", ".join(COLUMNS[cell.column] for cell in own)}' for variant, own in by_variant(cells))
        lines.append(f'- {title} ({len(cells)}): {"; ".join(names) or "none"}.')
    silent = [f'{NAMES[cell.variant]}: {COLUMNS[cell.column]}' for cell in found if cell.verdict == NONE]
    return '\n'.join(lines) + (f'\n- The paper has no difference ({len(silent)}): {"; ".join(silent)}.' if silent else '')


def by_variant(cells: list[Direction]) -> list[tuple[str, list[Direction]]]:
    """The cells of each variant that has any."""
    grouped = [(variant, [cell for cell in cells if cell.variant == variant]) for variant in LEFT_OUT]
    return [(variant, own) for variant, own in grouped if own]


def measures_table(measures: Figures, lower: set[str]) -> str:
    """What each variant loses or gains in measures that the paper does not have. lower: those that are better when they are lower."""
    rows, left_out = [], [variant for variant in measures if variant != ALL]
    for name, values in measures[ALL].items():
        digits = 3 if name in lower else 1
        cells = []
        for variant in left_out:
            if name not in measures[variant]:
                cells.append('-')
                continue
            change = compare(measures, variant, name)
            word = ('', ' better', ' worse')[change.sign * (-1 if name in lower else 1)]
            cells.append(f'{change.mean:+.{digits}f} ± {change.error:.{digits}f}{word}')
        rows.append([name, spread(values, digits), *cells])
    return markdown(['', NAMES[ALL], *(NAMES[variant] for variant in left_out)], rows)


def spread(values: list[float], digits: int) -> str:
    """Mean and standard deviation."""
    return f'{np.mean(values):.{digits}f} ± {deviation(values):.{digits}f}'
