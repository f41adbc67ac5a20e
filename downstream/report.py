"""Tables for the terminal and JSON for machines."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

PAPER_LANGUAGES = ('en', 'de', 'fr', 'cs')  # Multi30k's own, which the literature averages over


def table(header: Sequence[str], rows: Sequence[Sequence[str]], groups: Sequence[tuple[str, int]] = ()) -> str:
    """Aligned columns, the first to the left, the others to the right; a row of one empty cell is a rule.

    groups: titles above the header, each with the number of columns that it spans.
    """
    cells = [header, *(row for row in rows if list(row) != [''])]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    rule = '  '.join('-' * width for width in widths)
    titles, column = [], 0
    for title, span in groups:
        titles.append(title.center(sum(widths[column : column + span]) + 2 * (span - 1)))
        column += span

    def line(row: Sequence[str]) -> str:
        return '  '.join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))])

    above = ['  '.join(titles).rstrip()] if titles else []
    return '\n'.join([*above, line(header), rule, *(rule if list(row) == [''] else line(row) for row in rows)])


def percent(value: float | None) -> str:
    """A share as the literature prints recalls: in percent with one decimal."""
    return '-' if value is None else f'{100 * value:.1f}'


def write_json(path: Path, content: Mapping[str, Any], indent: int | None = 1) -> None:
    """Write JSON so that a reader finds the old file or the whole new one."""
    write_text(path, json.dumps(content, ensure_ascii=False, indent=indent) + '\n')


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f'{path.name}.{os.getpid()}.tmp')
    temporary.write_text(text, encoding='utf8')
    temporary.replace(path)


def write_array(path: Path, array: NDArray[Any]) -> None:
    """Write a .npy file that opens with `allow_pickle=False`, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f'{path.name}.{os.getpid()}.tmp')
    with temporary.open('wb') as file:
        np.save(file, array, allow_pickle=False)
    temporary.replace(path)
