"""Paragraphs of documents by the rules, many documents at a time.

Most text needs no change, and it is much quicker to see that of many documents than of each paragraph. What does need one is found by its
place, so that the paragraphs beside it cost nothing.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from data_pipeline.cleaning import normalise_lines, without_content
from data_pipeline.drops import Drops
from data_pipeline.references import Evaluation
from data_pipeline.settings import Settings

_BATCH = 1 << 20  # bytes that the tokenizer is given at a time; a quarter of it takes a tenth longer
_GROUP = 1 << 16  # bytes that are looked at together
_BETWEEN = b'\n\n'
_ASCII = bytes(range(128))
# White space and control characters beyond ASCII (`cleaning.normalise`), in UTF-8.
_ODD = re.compile(rb'\xc2[\x85\xa0]|\xe1\x9a\x80|\xe2\x80[\x80-\x8a\xa8\xa9\xaf]|\xe2\x81\x9f|\xe3\x80\x80|\xef\xbb\xbf|\xef\xbf[\xbe\xbf]')
# These, and whatever NFC may change or combine with what stands before it; also much that it does not: a few blocks are known to be
# harmless, those of Latin and Cyrillic letters, usual punctuation, currencies, arrows and Chinese characters.
_SUSPECT = re.compile(
    rb'\xc2[\x85\xa0]|\xe2(?!\x80[\x8b-\xa7\xaa-\xae\xb0-\xbf]|\x84[\x80-\xa5]|[\x82\x86-\x8b])|[\xcc-\xce\xd2\xd6-\xe1\xe3\xea-\xff]'
)
_NO_LETTER = re.compile(r'\n(?:[^\w\n]|_)+(?=\n)')  # a line without letter and digit may be empty, others are not
_NO_ASCII_LETTER = re.compile(rb'\n[^0-9A-Za-z\n]+(?=\n)')

Places = NDArray[np.intp]
# Paragraphs (UTF-8, as the tokenizer takes them), and how many of them each document has.
Batch = tuple[list[bytes], NDArray[np.intp]]


def clean_documents(text: bytes, settings: Settings, evaluation: Evaluation, drops: Drops) -> Iterator[Batch]:
    r"""Batches of the clean paragraphs of documents (UTF-8); what is left out is counted.

    `text` has one \n between the paragraphs of a document, none of which is empty, and two between documents.
    """
    paragraphs: list[bytes] = []
    counts: list[NDArray[np.intp]] = []
    size = 0
    for group in _groups(text):
        more, numbers = _clean(group, settings, evaluation, drops)
        paragraphs += more
        counts.append(numbers)
        size += len(group)
        if size >= _BATCH:
            yield paragraphs, np.concatenate(counts)
            paragraphs, counts, size = [], [], 0
    if counts:
        yield paragraphs, np.concatenate(counts)


def _groups(text: bytes) -> Iterator[bytes]:
    begin = 0
    while begin < len(text):
        end = text.find(_BETWEEN, begin + _GROUP)
        end = len(text) if end < 0 else end
        yield text[begin:end]
        begin = end + len(_BETWEEN)


def _clean(documents: bytes, settings: Settings, evaluation: Evaluation, drops: Drops) -> Batch:
    lines = documents.split(b'\n')
    framed = b'\n%b\n' % documents
    codes = np.frombuffer(framed, np.uint8)
    ends = np.flatnonzero(codes == 10)  # of the line before each line, and of the last
    between = np.flatnonzero(np.diff(ends) == 1)  # the empty lines
    counts = np.diff(between, prepend=-1, append=len(lines)) - 1
    changed, suspects = _to_look_at(framed, codes, ends, len(between), settings.applies('nfc'))
    if changed:
        normal = normalise_lines([lines[number].decode() for number in changed], drops.rewritten, settings.applies('nfc'))
        for number, line in zip(changed, normal, strict=True):
            lines[number] = line.encode()
    if evaluation.has_texts:
        suspects = sorted(set(range(len(lines))).difference(between.tolist()))
    for number in suspects:
        text = lines[number].decode()
        if without_content(text, settings):
            drops.add('empty', 1, text)
        elif evaluation.has_text(text, drops):
            drops.add('evaluation_text', 1, text)
        else:
            continue
        lines[number] = b''
        counts[np.searchsorted(between, number)] -= 1
    return list(filter(None, lines)), counts


def _to_look_at(framed: bytes, codes: NDArray[np.uint8], ends: Places, empty: int, nfc: bool) -> tuple[list[int], list[int]]:
    """Numbers of the lines that normalisation may change, and of these and all others that may be without content."""
    changed: set[int] = set()
    space = codes <= 32
    twice = space[1:] & space[:-1]
    if np.count_nonzero(twice) != empty:
        begin = np.flatnonzero(twice)
        begin = begin[(codes[begin] != 10) | (codes[begin + 1] != 10)]
        changed.update(_lines_of(begin + (codes[begin] == 10), ends))
    if np.count_nonzero(codes < 32) != len(ends) or (codes == 127).any():
        changed.update(_lines_of(np.flatnonzero((codes < 32) & (codes != 10) | (codes == 127)), ends))
    few = 8 * np.count_nonzero(codes > 127) < len(codes)
    if few and not _SUSPECT.search(framed.translate(None, _ASCII)):
        suspects = _lines_of(np.array([match.start() + 1 for match in _NO_ASCII_LETTER.finditer(framed)], np.intp), ends)
        return sorted(changed), sorted(changed.union(suspects))
    text = framed.decode()
    if not text.replace('\n', ' ').isprintable():
        changed.update(_lines_of(np.array([match.start() for match in _ODD.finditer(framed)], np.intp), ends))
    if nfc and not unicodedata.is_normalized('NFC', text):
        changed.update(number for number, line in enumerate(text[1:-1].split('\n')) if not unicodedata.is_normalized('NFC', line))
    return sorted(changed), sorted(changed.union(_without_letter(text)))


def _lines_of(places: Places, ends: Places) -> list[int]:
    found: list[int] = (np.searchsorted(ends, places) - 1).tolist()
    return found


def _without_letter(text: str) -> Iterator[int]:
    number = before = 0
    for match in _NO_LETTER.finditer(text):
        number += text.count('\n', before, match.start())
        before = match.start()
        yield number
