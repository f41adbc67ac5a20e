"""Markdown and HTML of a table, read back by a parser."""

from __future__ import annotations

from html.parser import HTMLParser

from downstream.pages.render import html, markdown
from downstream.pages.tables import Grid, Row

GRID = Grid(
    'Table <1>', [('A', 2), ('B & C', 1)], ['x', 'y', 'z'],
    [Row('theirs', ['1.0', '', '2.0']), Row('ours | <b>', ['3.0', '4.0†', ''], ours=True)], ['† a note'],
)  # fmt: skip
ONE_GROUP = Grid('Table 8', [('accuracy', 1)], ['af'], [Row('theirs', ['1.0'])], [])
LIST = Grid('List', [], ['file'], [Row('run', ['a|b'])], [])


class Cells(HTMLParser):
    """The text of every cell, row by row, with how many columns it spans."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[tuple[str, int]]] = []
        self.spans: int | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == 'tr':
            self.rows.append([])
        if tag in ('td', 'th'):
            self.spans = int(dict(attrs).get('colspan') or 1)
            self.rows[-1].append(('', self.spans))

    def handle_endtag(self, tag: str) -> None:
        if tag in ('td', 'th'):
            self.spans = None

    def handle_data(self, data: str) -> None:
        if self.spans is not None:
            self.rows[-1][-1] = (self.rows[-1][-1][0] + data, self.spans)


def test_html_has_every_cell() -> None:
    text = html('A title', [GRID], [('A plot', '<svg></svg>')])
    parser = Cells()
    parser.feed(text)
    assert parser.rows == [
        [('', 1), ('A', 2), ('B & C', 1)],
        [('', 1), ('x', 1), ('y', 1), ('z', 1)],
        [('theirs', 1), ('1.0', 1), ('', 1), ('2.0', 1)],
        [('ours | <b>', 1), ('3.0', 1), ('4.0†', 1), ('', 1)],
    ]
    assert '<script' not in text and 'http' not in text  # nothing is run or fetched
    assert '† a note' in text and '<svg></svg>' in text and 'Table &lt;1&gt;' in text


def test_markdown_has_every_cell() -> None:
    lines = markdown('A title', [GRID, ONE_GROUP, LIST], [('A plot', 'plots/01.svg')]).split('\n')
    assert lines[0] == '# A title'
    table = [line for line in lines if line.startswith('|')]
    assert table[0] == '|  | A x | A y | B & C z |'
    assert table[3] == '| **ours \\| <b>** | 3.0 | 4.0† |  |'
    assert '## Table 8 (accuracy)' in lines and '|  | af |' in lines
    assert table[-1] == '| run | a\\|b |'
    assert '![A plot](plots/01.svg)' in lines and '† a note' in lines
