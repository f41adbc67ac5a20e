"""Which words of two captions translate each other, counted from the captions of a picture corpus itself.

UC2 aligns with fast_align, M3P switches words with bilingual dictionaries that its authors downloaded. Neither is at hand for every
language pair, but every record with captions in two languages is a small parallel text.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from pretrain.data.streams import RecordStream
from shards.tokenizer import Tokenizer

MIN_TOGETHER = 2  # records: two words that met once only may have met by chance
MIN_DICE = 0.2
# Scripts without spaces: every piece of the tokenizer counts as a word.
UNSPACED = ((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3040, 0x30FF), (0x3400, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF))

Word = tuple[int, ...]  # token ids


class Lexicon:
    """Counts in the first `records` records of a stream with captions in two languages or more, made on first use: a function of the
    manifests, the same in every process.

    A word's records are the bits of an integer, so that every pair of languages is at hand without a table of pairs.
    """

    def __init__(self, stream: RecordStream, tokenizer: Tokenizer, records: int) -> None:
        self.tokenizer = tokenizer
        self._seen: dict[str, dict[str, int]] = {}  # language -> word -> its records
        for number, index in enumerate(islice(stream.multilingual().tolist(), records)):
            for language, captions in stream.record(index)['captions'].items():
                counted = self._seen.setdefault(language, {})
                for key in {self._key(word) for caption in captions for word in words(tokenizer.encode(caption), tokenizer)}:
                    counted[key] = counted.get(key, 0) | 1 << number

    def align(self, language: str, source: list[Word], other: str, target: list[Word]) -> list[int | None]:
        """For every word of `source` the place of its translation in `target`, each used once; None where none is known.

        Best pairs first (competitive linking, Melamed 2000), by Dice's coefficient 2 |records with both| / (|with one| + |with the other|).
        """
        ours = [self._seen.get(language, {}).get(self._key(word), 0) for word in source]
        theirs = [self._seen.get(other, {}).get(self._key(word), 0) for word in target]
        pairs = []
        for i, one in enumerate(ours):
            for j, two in enumerate(theirs):
                together = (one & two).bit_count()
                dice = 2 * together / max(1, one.bit_count() + two.bit_count())
                if together >= MIN_TOGETHER and dice >= MIN_DICE:
                    # Of equal ones the pair at similar places: captions keep much of the order.
                    pairs.append((-dice, abs(i / len(source) - j / len(target)), i, j))
        links: list[int | None] = [None] * len(source)
        for _, _, i, j in sorted(pairs):
            if links[i] is None and j not in links:
                links[i] = j
        return links

    def _key(self, word: Word) -> str:
        return self.tokenizer.decode(word).strip().casefold()


def words(ids: Iterable[int], tokenizer: Tokenizer) -> list[Word]:
    """Token ids cut into words: before every piece that starts one (`▁`), and at every piece of a script without spaces."""
    out: list[Word] = []
    for token in ids:
        piece = tokenizer.piece(int(token))
        first = ord(piece.lstrip('▁')[:1] or 'a')
        starts = piece.startswith('▁') or any(low <= first <= high for low, high in UNSPACED)
        # A `▁` alone is the space before the word that follows.
        if out and (not starts or (len(out[-1]) == 1 and tokenizer.piece(out[-1][0]) == '▁')):
            out[-1] += (int(token),)
        else:
            out.append((int(token),))
    return out


def places(text: list[Word], chosen: list[int]) -> NDArray[np.int64]:
    """Positions of the tokens of the chosen words, ascending, in the text that the words make up."""
    ends = np.cumsum([len(word) for word in text])
    return np.concatenate([np.zeros(0, np.int64), *(np.arange(ends[i] - len(text[i]), ends[i]) for i in chosen)])
