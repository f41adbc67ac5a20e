"""A sample of the texts of each language, on disk: in memory is a hash and a place of each."""

from __future__ import annotations

import hashlib
import mmap
from array import array
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

_HEAD = 4  # bytes of a text's length, before it


class KeptTexts:
    """Of each language the distinct texts with the lowest hashes, at most `most`: which these are does not depend on their order.

    A text takes 16 bytes of memory, and one that came lately about 100. The file holds every text that was among the lowest when it came:
    of n about most (1 + ln(n / most)).
    """

    def __init__(self, file: BinaryIO, most: int) -> None:
        """`file`: an empty one, to be written and read."""
        self._file, self._most, self._end = file, most, 0
        self._languages: dict[str, _Lowest] = {}

    def add(self, language: str, text: str) -> None:
        """Keep the text, if its hash is among the lowest. Raises OSError."""
        data = text.encode()
        lowest = self._languages.setdefault(language, _Lowest(self._most))
        if lowest.add(int.from_bytes(hashlib.blake2b(data, digest_size=8).digest()), self._end):
            self._end += self._file.write(len(data).to_bytes(_HEAD, 'little') + data)

    def counts(self) -> dict[str, int]:
        """{language: number of its texts}, by language."""
        return {language: len(self._languages[language].ordered()) for language in sorted(self._languages)}

    def texts(self, language: str, number: int) -> Iterator[str]:
        """So many texts, the lowest hash first; all of them again where there are fewer."""
        self._file.flush()
        places = self._languages[language].ordered()
        with mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            for i in range(number):
                begin = places[i % len(places)] + _HEAD
                yield data[begin : begin + int.from_bytes(data[begin - _HEAD : begin], 'little')].decode()


class _Lowest:
    """The lowest distinct hashes, each with its place, and some that came since they were last looked through."""

    def __init__(self, most: int) -> None:
        self._most, self._pause = most, most // 16 + 1024
        self._sorted, self._places = np.empty(0, np.uint64), array('Q')
        self._since: dict[int, int] = {}  # hash -> place
        self._bound = 1 << 64  # a hash from here on is not among the lowest

    def add(self, hashed: int, place: int) -> bool:
        """Whether it may be one of the lowest, and is new."""
        if hashed >= self._bound or hashed in self._since:
            return False
        found = int(self._sorted.searchsorted(np.uint64(hashed)))
        if found < len(self._sorted) and int(self._sorted[found]) == hashed:
            return False
        self._since[hashed] = place
        if len(self._since) >= self._pause:
            self.ordered()
        return True

    def ordered(self) -> array[int]:
        """Places of the lowest, by hash; the others are let go."""
        if self._since:
            hashes = np.concatenate([self._sorted, np.array(list(self._since), np.uint64)])
            places = np.concatenate([np.array(self._places, np.uint64), np.array(list(self._since.values()), np.uint64)])
            order = np.argsort(hashes)[: self._most]
            self._sorted, self._places = hashes[order], array('Q', places[order].tobytes())
            self._since.clear()
            if len(order) == self._most:
                self._bound = int(self._sorted[-1])
        return self._places
