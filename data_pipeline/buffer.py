"""Memory for the shard that is being filled, which the next one is filled in too.

A bytearray that grows is given its memory page by page, and gives it back with every shard: as long as hashing takes what is put there.
"""

from __future__ import annotations

import mmap
from contextlib import suppress

_FIRST = 1 << 24  # bytes
_LARGEST = 1 << 27  # bytes of one that is kept
_KEPT = 2  # a stream to train on and one that is held out

_free: list[Buffer] = []


class Buffer:
    """Bytes that are added one after the other: `write` them, after `reserve` has made room."""

    def __init__(self) -> None:
        self._map = mmap.mmap(-1, _FIRST, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        with suppress(OSError):  # a kernel without huge pages
            self._map.madvise(mmap.MADV_HUGEPAGE)
        self.capacity = _FIRST
        self.write = self._map.write

    def reserve(self, size: int) -> None:
        """Make room for `size` bytes in all."""
        self.capacity = max(2 * self.capacity, -(-size // mmap.PAGESIZE) * mmap.PAGESIZE)
        self._map.resize(self.capacity)  # pages are moved, not copied

    def clear(self) -> None:
        self._map.seek(0)

    def view(self) -> memoryview:
        """What was written. To be released before `reserve` is called again."""
        return memoryview(self._map)[: self._map.tell()]


def take() -> Buffer:
    """An empty buffer, for the caller alone until it is given back."""
    buffer = _free.pop() if _free else Buffer()
    buffer.clear()
    return buffer


def give_back(buffer: Buffer) -> None:
    """Let the next one who asks have it, unless it is a large one."""
    if len(_free) < _KEPT and buffer.capacity <= _LARGEST:
        _free.append(buffer)
