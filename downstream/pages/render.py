"""Tables as Markdown and as HTML. A page is one file: styles and pictures are inside, and it runs nothing."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from downstream.pages.tables import Grid
from shards.tables import markdown as markdown_table

STYLE = """
:root { color-scheme: light dark; --line: #8886; --ours: #3a7bd522; --right: #2a9d4e; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 1400px; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.5rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .6rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child, table.text td, table.text th { text-align: left; }
tr.group th { text-align: center; border-bottom: 0; } tr.ours { background: var(--ours); }
p.note { margin: .3rem 0; opacity: .8; font-size: .9em; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(270px, 1fr)); gap: 1rem; }
.card { border: 1px solid var(--line); border-radius: 6px; padding: .7rem; overflow-wrap: anywhere; }
.card ul { margin: .3rem 0 0; padding-left: 1.1rem; opacity: .8; font-size: .9em; }
.query { margin: 1.2rem 0; } .found { display: flex; flex-wrap: wrap; gap: .6rem; }
figure { margin: 0; width: 130px; }
figure img, .missing { width: 124px; height: 124px; object-fit: contain; border: 3px solid transparent; }
figure.right img { border-color: var(--right); } figcaption { font-size: .8em; }
.missing { display: grid; place-items: center; font-size: .8em; background: #8882; } svg { max-width: 100%; height: auto; }
"""


def markdown(title: str, grids: Sequence[Grid], plots: Sequence[tuple[str, str]]) -> str:
    """A page of tables and of plots, each (title, file)."""
    parts = [f'# {title}', *map(_grid_markdown, grids), *(f'## {name}\n\n![{name}]({file})' for name, file in plots)]
    return '\n\n'.join(parts) + '\n'


def html(title: str, grids: Sequence[Grid], plots: Sequence[tuple[str, str]]) -> str:
    """The same as HTML; each plot is (title, SVG)."""
    body = [_grid_html(grid) for grid in grids] + [f'<h2>{escape(name)}</h2>\n{svg}' for name, svg in plots]
    return page(title, '\n'.join(body))


def page(title: str, body: str) -> str:
    """A whole HTML file around a body."""
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title><style>{STYLE}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body><h1>{escape(title)}</h1>\n{body}\n</body></html>\n'


def _columns(grid: Grid) -> list[str]:
    """The header's cells, each with the title of its group, for where a cell cannot span several columns."""
    if len(grid.groups) < 2:
        return grid.header
    titles = [title for title, span in grid.groups for _ in range(span)]
    return [f'{title} {name}' for title, name in zip(titles, grid.header, strict=True)]


def _grid_markdown(grid: Grid) -> str:
    aligned = '---' if _is_text(grid) else '---:'
    lines = []
    for row in grid.rows:
        name = row.name.replace('|', '\\|')
        lines.append([f'**{name}**' if row.ours else name, *(text.replace('|', '\\|') for text in row.cells)])
    table = markdown_table(['', *_columns(grid)], lines, ['---', *[aligned] * len(grid.header)])
    title = f'{grid.title} ({grid.groups[0][0]})' if len(grid.groups) == 1 else grid.title
    return '\n\n'.join([f'## {title}', table, *grid.notes])


def _grid_html(grid: Grid) -> str:
    rows = []
    if grid.groups:
        spans = ''.join(f'<th colspan="{span}">{escape(title)}</th>' for title, span in grid.groups)
        rows.append(f'<tr class="group"><th></th>{spans}</tr>')
    rows.append('<tr><th></th>' + ''.join(f'<th>{escape(name)}</th>' for name in grid.header) + '</tr>')
    for row in grid.rows:
        cells = ''.join(f'<td>{escape(text)}</td>' for text in (row.name, *row.cells))
        rows.append(f'<tr class="ours">{cells}</tr>' if row.ours else f'<tr>{cells}</tr>')
    notes = ''.join(f'<p class="note">{escape(note)}</p>' for note in grid.notes)
    kind = ' class="text"' if _is_text(grid) else ''
    return f'<h2>{escape(grid.title)}</h2>\n<div class="wide"><table{kind}>\n' + '\n'.join(rows) + f'\n</table></div>\n{notes}'


def _is_text(grid: Grid) -> bool:
    return not grid.groups
