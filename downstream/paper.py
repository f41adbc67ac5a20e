"""The paper's figures of its Tables 1, 2, 3, 7 and 8, in percent, as far as its source still shows them, and how ours are printed.

`paper_tables.json` has them by table and system; `paper` and `ours_paper` are ERNIE-UniX2, which Table 3 has without one task each.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name('paper_tables.json')
PAPER = 'paper'
PAPER_LANGUAGES = ('en', 'de', 'fr', 'cs')  # Multi30k's own, which the literature averages over


@cache
def paper_tables() -> dict[str, Any]:
    """{'table1': …, 'table2': …, 'table3': …, 'table7': …, 'table8': …} as the file has them."""
    tables: dict[str, Any] = json.loads(FILE.read_text(encoding='utf8'))
    return tables


def by_language(rows: dict[str, Any]) -> dict[str, dict[str, float]]:
    """{system: {language: figure}} of a table whose `langs` name the columns."""
    systems = {name: figures for name, figures in rows.items() if name not in ('langs', 'note')}
    return {name: dict(zip(rows['langs'], figures, strict=True)) for name, figures in systems.items()}


def ablation() -> dict[str, dict[str, float]]:
    """{`all` or the task left out: {column: figure}} of Table 3."""
    rows = paper_tables()['table3']
    return {name: dict(zip(rows['columns'], figures, strict=True)) for name, figures in rows.items() if name != 'columns'}


def percent(value: float | None) -> str:
    """A share as the literature prints recalls: in percent with one decimal."""
    return '-' if value is None else f'{100 * value:.1f}'
