"""The rules, one by one."""

from __future__ import annotations

import gzip
import unicodedata
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipeline import cleaning
from data_pipeline.settings import Settings

SAMPLE = Path(__file__).parents[2] / 'sample/raw/opus/WikiMatrix'
SETTINGS = Settings()


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ('Bu\u0308ro', 'Büro'),
        ('  a \t b\r\n c\u2028d\x85e\u00a0f ', 'a b c d e f'),
        ('a\x00b\x07\ufeffc', 'abc'),
        ('\ud83d!', '!'),
        ('नमस्ते', 'नमस्ते'),
        ('ａ', 'ａ'),
    ],
)
def test_normalise(text: str, expected: str) -> None:
    assert cleaning.normalise(text) == expected


@pytest.mark.parametrize(
    ('text', 'rules'),
    [
        ('ein Hund', []),
        ('Bu\u0308ro', ['nfc']),
        ('a\u2028b', ['white_space']),
        ('a\x85b', ['white_space']),
        ('a\x00b', ['control_characters']),
        (' e\u0301\x07', ['control_characters', 'white_space', 'nfc']),
    ],
)
def test_which_rule_changed_a_text(text: str, rules: list[str]) -> None:
    assert list(cleaning.rewrites(text, cleaning.normalise(text))) == rules
    assert list(cleaning.rewrites(text, cleaning.normalise(text, False))) == [rule for rule in rules if rule != 'nfc']


@given(st.text())
def test_normalised_text_is_valid_and_stays_as_it_is(text: str) -> None:
    normal = cleaning.normalise(text)
    assert cleaning.normalise(normal) == normal
    assert unicodedata.is_normalized('NFC', normal)
    assert normal.encode().decode() == normal


@given(st.lists(st.text()), st.booleans())
def test_many_lines_are_normalised_as_each_is(texts: list[str], nfc: bool) -> None:
    lines = [text.replace('\n', ' ') for text in texts] or ['']
    counts, normal = Counter[str](), [cleaning.normalise(line, nfc) for line in lines]
    assert cleaning.normalise_lines(lines, counts, nfc) == normal
    assert counts == Counter(rule for line, found in zip(lines, normal, strict=True) for rule in cleaning.rewrites(line, found))
    assert cleaning.normalise_lines(['e\u0301 ', '\u0301e', ' a  b\x0c'], counts, nfc) == ['é' if nfc else 'e\u0301', '\u0301e', 'a b']


@pytest.mark.parametrize(
    ('text', 'expected'), [('', True), ('.', True), ('-- …!', True), ('a', False), ('7', False), ('😀', False), ('。', True)]
)
def test_empty(text: str, expected: bool) -> None:
    assert cleaning.empty(text) is expected


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ('Wurm', False),
        ('Jo-Jo', False),
        ('yen banknote', False),
        ('नमस्ते दुनिया', False),
        ('สวัสดี', False),
        ('6:30 Uhr', True),
        ('12345', True),
        ('=SUM(A1;A2)', True),
        ('ab12', False),
        ('ab123', True),
        ('a 😀😀', True),
        ('𝒜𝒷', False),
        ('', False),
    ],
)
def test_non_letters(text: str, expected: bool) -> None:
    assert cleaning.non_letters(text, 0.5) is expected


@given(st.text())
def test_letters_are_counted_alike_in_ascii_and_elsewhere(text: str) -> None:
    plain = sum(unicodedata.category(char)[0] in 'LM' for char in text)
    assert cleaning._letters(text) == plain


def test_pair_rules() -> None:
    assert cleaning.pair_drop('', 'x', SETTINGS) == 'empty'
    assert cleaning.pair_drop('x', '...', SETTINGS) == 'empty'
    assert cleaning.pair_drop('Radio', 'Radio', SETTINGS) == 'identical_sides'
    assert cleaning.pair_drop('Zebra', 'zebra', SETTINGS) is None
    assert cleaning.pair_drop('2 + 2 = 4', 'zwei', SETTINGS) == 'non_letters'


@pytest.mark.parametrize(
    ('first', 'second', 'tokens', 'expected'),
    [
        ('Wurm', 'worm', (2, 1), None),
        ('x' * 300, 'y' * 300, (251, 200), 'length'),
        ('x', 'y', (1, 0), 'length'),
        ('a very long sentence about nothing', 'kurz', (8, 1), 'length_ratio'),
        ('a sentence in English words', '英语单词', (6, 4), None),  # many more characters
        ('a b c', 'ᎠᏂᏴᏫᏯ', (3, 12), None),  # many more tokens
        ('abc', 'abcdefghij', (1, 3), None),
        ('abc', 'abcdefghij', (1, 4), 'length_ratio'),
    ],
)
def test_length_rules(first: str, second: str, tokens: tuple[int, int], expected: str | None) -> None:
    assert cleaning.pair_length_drop(first, second, *tokens, SETTINGS) == expected
    assert cleaning.pair_length_drop(second, first, tokens[1], tokens[0], SETTINGS) == expected


def test_person() -> None:
    assert cleaning.person('<PERSON> and <PERSON> in <b>') == 'person and person in <b>'


def test_single_words_mostly_survive() -> None:
    """The sample's WikiMatrix rows are words and short phrases."""
    kept = total = 0
    for path in SAMPLE.glob('*.gz'):
        for line in gzip.decompress(path.read_bytes()).decode().split('\n')[:-1]:
            _, first, second = line.split('\t')
            total += 1
            kept += cleaning.pair_drop(cleaning.normalise(first), cleaning.normalise(second), SETTINGS) is None
    assert total > 10_000
    assert kept > 0.99 * total
