"""Documents -> token sequences."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from data_pipeline.clean_documents import Batch
from shards.tokenizer import Tokenizer

_FEW = 20  # documents: so many are quicker one by one

Ids = NDArray[np.int32]
Sequences = tuple[Ids, list[int]]  # ids of many sequences after each other, and the end of each sequence


def packed(batches: Iterable[Batch], tokenizer: Tokenizer, most: int, cross_documents: bool) -> Iterator[Sequences]:
    """Sequences of at most `most` ids: every id once, in order, with none across documents unless `cross_documents`.

    Paragraphs stay whole where they fit; a longer one is cut, and its rest goes on with the next paragraph.
    """
    left, ends_left = np.empty(0, np.int32), list[int]()  # of a sequence that goes on in the next batch, if that may be
    for paragraphs, counts in batches:
        ids, ends = tokenizer.encode_flat(paragraphs)
        if not cross_documents:
            yield ids, _document_cuts(ends, counts, most)
            continue
        ids = np.concatenate([left, ids])
        all_ends = [*ends_left, *(ends + len(left)).tolist()]
        done = cuts(all_ends, 0, most)
        begin = done[-2] if len(done) > 1 else 0
        yield ids[:begin], done[:-1]
        left, ends_left = ids[begin:], [end - begin for end in all_ends if end > begin]
    if len(left):
        yield left, [len(left)]


def _document_cuts(ends: NDArray[np.intp], counts: NDArray[np.intp], most: int) -> list[int]:
    """`cuts` of each document, of all documents at a time as long as many are left."""
    ends = np.concatenate([[0], ends])
    last = np.cumsum(counts)
    stops, starts = ends[last], ends[last - counts]  # of the documents
    found = [stops[stops > starts]]
    long = stops - starts > most
    while np.count_nonzero(long) > _FEW:
        starts, stops, last = starts[long], stops[long], last[long]
        whole = ends[np.searchsorted(ends, starts + most, 'right') - 1]
        starts = np.where(whole > starts, whole, starts + most)
        found.append(starts)
        long = stops - starts > most
    paragraph_ends = ends.tolist() if long.any() else []
    for start, end in zip(starts[long].tolist(), last[long].tolist(), strict=True):
        found.append(np.array(cuts(paragraph_ends, start, most, 0, end + 1)[:-1], np.intp))
    sequences: list[int] = np.sort(np.concatenate(found)).tolist()
    return sequences


def cuts(ends: list[int], start: int, most: int, first: int = 0, last: int | None = None) -> list[int]:
    """Ends of the sequences, given the ends of the paragraphs `first` to `last` and where the first of them starts.

    A sequence ends with the last paragraph that ends within `most` ids, or within a paragraph if there is none.
    """
    last = len(ends) if last is None else last
    found: list[int] = []
    end = ends[last - 1] if last > first else start
    while end - start > most:
        first = bisect_right(ends, start + most, first, last)
        whole = ends[first - 1] if first else 0
        start = whole if whole > start else start + most
        found.append(start)
    if end > start:
        found.append(end)
    return found
