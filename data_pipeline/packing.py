"""Documents -> token sequences."""

from __future__ import annotations

from collections.abc import Iterable, Iterator


def pack(paragraphs: Iterable[list[int]], most: int) -> Iterator[list[int]]:
    """Sequences of at most `most` ids from the paragraphs of one document, every id once, in order.

    Paragraphs stay whole where they fit; a longer one is cut, and its rest goes on with the next paragraph.
    """
    sequence: list[int] = []
    for ids in paragraphs:
        if len(sequence) + len(ids) > most and sequence:
            yield sequence
            sequence = []
        sequence = sequence + ids
        while len(sequence) > most:
            yield sequence[:most]
            sequence = sequence[most:]
    if sequence:
        yield sequence
