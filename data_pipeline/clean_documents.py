"""Paragraphs of documents by the rules, many documents at a time.

Most text needs no change, and it is much quicker to see that of many documents than of each paragraph.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from data_pipeline.cleaning import is_normal, normalise_lines, without_content
from data_pipeline.drops import Drops
from data_pipeline.references import Evaluation
from data_pipeline.settings import Settings

_BATCH = 1 << 18  # characters that the tokenizer is given at a time
_GROUP = 1 << 13  # characters that are looked at together
_NO_LETTER = re.compile(r'\n(?:[^\w\n]|_)*(?=\n)')  # no letter and no digit in a line: it may be empty, others are not

Batch = tuple[list[str], list[int]]  # paragraphs, and how many of them each document has


def clean_documents(documents: Iterable[str], settings: Settings, evaluation: Evaluation, drops: Drops) -> Iterator[Batch]:
    r"""Batches of the clean paragraphs of documents, whose paragraphs have a \n between them; what is left out is counted."""
    paragraphs: list[str] = []
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


def _groups(documents: Iterable[str]) -> Iterator[list[str]]:
    group: list[str] = []
    size = 0
    for document in documents:
        group.append(document)
        size += len(document)
        if size >= _GROUP:
            yield group
            group, size = [], 0
    if group:
        yield group


def _clean(documents: list[str], settings: Settings, evaluation: Evaluation, drops: Drops) -> Batch:
    nfc = settings.applies('nfc')
    counts = [document.count('\n') + 1 for document in documents]
    text = '\n'.join(documents)
    paragraphs = text.split('\n')
    if not is_normal(text, nfc):
        paragraphs = normalise_lines(paragraphs, nfc)
        text = '\n'.join(paragraphs)
    if not evaluation.has_texts and not _NO_LETTER.search(f'\n{text}\n'):
        return paragraphs, counts
    kept: list[str] = []
    begin = 0
    for number, count in enumerate(counts):
        before = len(kept)
        kept += _kept(paragraphs[begin : begin + count], settings, evaluation, drops)
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
