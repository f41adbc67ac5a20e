"""Documents -> token sequences."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from shards.tokenizer import Tokenizer

Ids = NDArray[np.int32]

_BATCH = 1 << 18  # characters that the tokenizer is given at a time


def encoded(documents: Iterable[list[str]], tokenizer: Tokenizer) -> Iterator[list[Ids]]:
    """Ids of the paragraphs of each document; many documents at a time, since each call of the tokenizer costs something by itself."""
    texts: list[str] = []
    lengths: list[int] = []
    size = 0
    for document in documents:
        texts += document
        lengths.append(len(document))
        size += sum(map(len, document))
        if size >= _BATCH:
            yield from _split(tokenizer.encode_arrays(texts), lengths)
            texts, lengths, size = [], [], 0
    yield from _split(tokenizer.encode_arrays(texts), lengths)


def _split(ids: list[Ids], lengths: list[int]) -> Iterator[list[Ids]]:
    end = 0
    for length in lengths:
        begin, end = end, end + length
        yield ids[begin:end]


def pack(paragraphs: Iterable[Ids], most: int) -> Iterator[Ids]:
    """Sequences of at most `most` ids from the paragraphs of one document, every id once, in order.

    Paragraphs stay whole where they fit; a longer one is cut, and its rest goes on with the next paragraph.
    """
    parts: list[Ids] = []
    size = 0
    for ids in paragraphs:
        if parts and size + len(ids) > most:
            yield _joined(parts)
            parts, size = [], 0
        if len(ids):
            parts.append(ids)
            size += len(ids)
        if size > most:
            rest = _joined(parts)
            while len(rest) > most:
                yield rest[:most]
                rest = rest[most:]
            parts, size = [rest], len(rest)
    if parts:
        yield _joined(parts)


def _joined(parts: list[Ids]) -> Ids:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
