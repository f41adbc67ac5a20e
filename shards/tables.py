"""Tables: aligned for the terminal, and in Markdown."""

from __future__ import annotations

from collections.abc import Sequence


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


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]], rule: Sequence[str] = ()) -> str:
    """A table of Markdown. rule: its second line, a cell a column; default: `---`."""
    lines = [header, rule or ['---'] * len(header), *rows]
    return '\n'.join(f'| {" | ".join(row)} |' for row in lines)
