"""Tables for the terminal and in Markdown."""

from __future__ import annotations

from shards.tables import markdown, table


def test_table_aligns_columns_rules_and_groups() -> None:
    text = table(['language', 'R@1', 'R@5'], [['en', '1.0', '20.0'], [''], ['mean', '100.0', '3.0']], [('', 1), ('both', 2)])
    assert text.split('\n') == [
        '              both',
        'language    R@1   R@5',
        '--------  -----  ----',
        'en          1.0  20.0',
        '--------  -----  ----',
        'mean      100.0   3.0',
    ]


def test_markdown() -> None:
    assert markdown(['a', 'b'], [['1', '2']]) == '| a | b |\n| --- | --- |\n| 1 | 2 |'
    assert markdown(['', 'b'], [], ['---', '---:']) == '|  | b |\n| --- | ---: |'
