"""Cleaning rules for texts. Each rule is one function with the name of its drop reason; what a reason means stands in docs/data.md.

`--without RULE` switches a rule off (`settings.RULES`).
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterator
from functools import cache
from operator import ne

from data_pipeline.settings import Settings

_ASCII_OTHER = bytes(i for i in range(256) if not chr(i).isalpha() or i > 127)
_CONTROL = re.compile('[\x00-\x08\x0e-\x1f\x7f\ufeff\ufffe\uffff\ud800-\udfff]')


def normalise(text: str, nfc: bool = True) -> str:
    """NFC (unless that rule is off), without control characters and lone surrogates, runs of white space as one space."""
    if not _tidy(text):
        text = ' '.join(_CONTROL.sub('', text).split())
    return unicodedata.normalize('NFC', text) if nfc else text


def normalise_lines(lines: list[str], rewritten: Counter[str], nfc: bool = True) -> list[str]:
    """`normalise` of each of many lines; `rewritten` counts those that a rule changed, by `rewrites`."""
    if _CONTROL.search('\n'.join(lines)):
        normal = [normalise(line, nfc) for line in lines]
        rewritten.update(rule for line, found in zip(lines, normal, strict=True) for rule in rewrites(line, found))
        return normal
    tidy = [' '.join(line.split()) for line in lines]
    normal = [unicodedata.normalize('NFC', line) for line in tidy] if nfc else tidy
    rewritten['white_space'] += sum(map(ne, lines, tidy))  # all at once, as text is to be quick
    rewritten['nfc'] += sum(map(ne, tidy, normal))
    return normal


def rewrites(text: str, found: str) -> Iterator[str]:
    """Names of the rules by which `normalise` has made `found` of a text."""
    if found == text:
        return
    without = _CONTROL.sub('', text)
    if without != text:
        yield 'control_characters'
    tidy = ' '.join(without.split())
    if tidy != without:
        yield 'white_space'
    if tidy != found:
        yield 'nfc'


def _tidy(text: str) -> bool:
    """All white space is single spaces between others, and there is no control character. Mostly it is so."""
    return text.isprintable() and '  ' not in text and text == text.strip(' ')


def empty(text: str) -> bool:
    """No letter and no digit at all: nothing, or only punctuation (WIT has captions that are just `.`)."""
    return not text[:1].isalnum() and not any(unicodedata.category(char)[0] in 'LNS' for char in text)


def identical_sides(first: str, second: str) -> bool:
    """Not a translation."""
    return first == second


def non_letters(text: str, most: float) -> bool:
    """More than `most` of the characters (white space apart) are no letters: tables, markup, numbers."""
    total = len(text) - text.count(' ')
    return total > 0 and total - _letters(text) > most * total


def length(tokens: int, settings: Settings) -> bool:
    """Outside min_length ... max_length tokens."""
    return not settings.min_length <= tokens <= settings.max_length


def length_ratio(first: str, second: str, first_tokens: int, second_tokens: int, most: float) -> bool:
    """The longer side is more than `most` times the other, both in tokens and in characters.

    Characters alone would drop good pairs with Chinese (about three English characters to one), tokens alone those with a language that the
    tokenizer cuts into single letters.
    """
    return _ratio(first_tokens, second_tokens) > most and _ratio(len(first), len(second)) > most


def person(text: str) -> str:
    """CC12M's `<PERSON>`, which stands where a name was, becomes the word."""
    return text.replace('<PERSON>', 'person')


def without_content(text: str, settings: Settings) -> bool:
    """Whether a (normalised) text is dropped as `empty`. With that rule switched off, only one without any character is."""
    return not text or (settings.applies('empty') and empty(text))


def pair_drop(first: str, second: str, settings: Settings) -> str | None:
    """Why a (normalised) pair is dropped, by the rules that need no tokens; None: it stays."""
    if without_content(first, settings) or without_content(second, settings):
        return 'empty'
    if settings.applies('identical_sides') and identical_sides(first, second):
        return 'identical_sides'
    most = settings.max_non_letters
    if settings.applies('non_letters') and (non_letters(first, most) or non_letters(second, most)):
        return 'non_letters'
    return None


def pair_length_drop(first: str, second: str, first_tokens: int, second_tokens: int, settings: Settings) -> str | None:
    """Why a pair is dropped for its length; None: it stays."""
    if not (first_tokens and second_tokens):  # a tokenizer may leave nothing of a text; a sample without ids is none
        return 'length'
    if settings.applies('length') and (length(first_tokens, settings) or length(second_tokens, settings)):
        return 'length'
    if settings.applies('length_ratio') and length_ratio(first, second, first_tokens, second_tokens, settings.max_ratio):
        return 'length_ratio'
    return None


def _ratio(one: int, other: int) -> float:
    return max(one, other) / max(1, min(one, other))


def _letters(text: str) -> int:
    if text.isascii():
        return len(text.encode().translate(None, _ASCII_OTHER))
    return sum(map(_is_letter, text))


@cache
def _letter_table() -> bytes:
    # Marks count as letters: half of a Hindi or Thai word is vowel signs.
    return bytes(unicodedata.category(chr(code))[0] in 'LM' for code in range(sys.maxunicode + 1))


def _is_letter(char: str) -> int:
    return _letter_table()[ord(char)]
