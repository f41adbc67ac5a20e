"""Documents -> token sequences."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from data_pipeline.clean_documents import Batch
from shards.tokenizer import Tokenizer

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
        ends = [*ends_left, *(len(left) + end for end in ends)]
        done = cuts(ends, 0, most)
        begin = done[-2] if len(done) > 1 else 0
        yield ids[:begin], done[:-1]
        left, ends_left = ids[begin:], [end - begin for end in ends if end > begin]
    if len(left):
        yield left, [len(left)]


def _document_cuts(ends: list[int], counts: list[int], most: int) -> list[int]:
    found: list[int] = []
    first = start = 0
    for count in counts:
        if count:
            last = first + count
            end = ends[last - 1]
            if end - start > most:
                found += cuts(ends, start, most, first, last)
            elif end > start:
                found.append(end)
            first, start = last, end
    return found


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
