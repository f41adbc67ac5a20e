"""Paragraphs of documents by the rules, many documents at a time.

Most text needs no change, and it is much quicker to see that of many documents than of each paragraph.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate

from data_pipeline.cleaning import is_normal, normalise_lines, without_content
from data_pipeline.drops import Drops
from data_pipeline.references import Evaluation
from data_pipeline.settings import Settings

_BATCH = 1 << 18  # bytes that the tokenizer is given at a time
_GROUP = 1 << 13  # bytes that are looked at together
_NO_LETTER = re.compile(r'\n(?:[^\w\n]|_)*(?=\n)')  # no letter and no digit in a line: it may be empty, others are not

Batch = tuple[list[bytes], list[int]]  # paragraphs (UTF-8, as the tokenizer takes them), and how many of them each document has


def clean_documents(documents: Sequence[bytes], settings: Settings, evaluation: Evaluation, drops: Drops) -> Iterator[Batch]:
    r"""Batches of the clean paragraphs of documents, whose paragraphs have a \n between them; what is left out is counted."""
    paragraphs: list[bytes] = []
    counts: list[int] = []
    size = 0
    for group in _groups(documents):
        more, numbers = _clean(group, settings, evaluation, drops)
        paragraphs += more
        counts += numbers
        size += sum(map(len, group))
        if size >= _BATCH:
            yield paragraphs, counts
            paragraphs, counts, size = [], [], 0
    if counts:
        yield paragraphs, counts


def _groups(documents: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    ends = list(accumulate(map(len, documents), initial=0))
    begin = 0
    while begin < len(documents):
        end = min(bisect_left(ends, ends[begin] + _GROUP, begin + 1), len(documents))
        yield documents[begin:end]
        begin = end


def _clean(documents: Sequence[bytes], settings: Settings, evaluation: Evaluation, drops: Drops) -> Batch:
    nfc = settings.applies('nfc')
    counts = [document.count(b'\n') + 1 for document in documents]
    data = b'\n'.join(documents)
    text = data.decode()
    if not is_normal(text, nfc):
        text = '\n'.join(normalise_lines(text.split('\n'), nfc))
        data = text.encode()
    if not evaluation.has_texts and not _NO_LETTER.search(f'\n{text}\n'):
        return data.split(b'\n'), counts
    paragraphs = text.split('\n')
    kept: list[bytes] = []
    begin = 0
    for number, count in enumerate(counts):
        before = len(kept)
        kept += map(str.encode, _kept(paragraphs[begin : begin + count], settings, evaluation, drops))
        counts[number] = len(kept) - before
        begin += count
    return kept, counts


def _kept(paragraphs: list[str], settings: Settings, evaluation: Evaluation, drops: Drops) -> Iterator[str]:
    for text in paragraphs:
        if without_content(text, settings):
            drops.add('empty', 1, text)
        elif evaluation.has_text(text, drops):
            drops.add('evaluation_text', 1, text)
        else:
            yield text
