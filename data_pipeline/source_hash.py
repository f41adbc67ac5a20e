"""A file that is hashed while it is read: a second pass would take as long as to read it, and a shard of pictures may be gigabytes.

XXH3, as what a source is known by must tell damage and a mistaken file, and fends off nobody; SHA-256 would take as long as all else that
is done with a picture that passes through. What is in the shards is known by SHA-256: each picture by its id, each shard in the manifest.
"""

from __future__ import annotations

import io
from pathlib import Path

import xxhash

_BLOCK = 1 << 18  # bytes: what was read is still in the processor's cache when it is hashed, and when it is looked at


def file_xxh3(path: Path) -> str:
    """XXH3-128 of a file's bytes, hex (what `xxhsum -H2` prints)."""
    with HashedFile(path) as file:
        return file.xxh3()


class HashedFile(io.RawIOBase):
    """A file for reading, in whatever order, of which every byte is hashed once. Wrap it in `io.BufferedReader` (`buffered`)."""

    def __init__(self, path: Path) -> None:
        self._file = open(path, 'rb', buffering=0)  # noqa: SIM115  (closed by `close`)
        self._hash = xxhash.xxh3_128()
        self._hashed = self._place = 0

    def buffered(self) -> io.BufferedReader:
        return io.BufferedReader(self, _BLOCK)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if self._place > self._hashed:  # something was passed over
            self._hash_to(self._place)
            self._file.seek(self._place)
        number = self._file.readinto(buffer) or 0
        if self._place + number > self._hashed:
            self._hash.update(buffer[self._hashed - self._place : number])
            self._hashed = self._place + number
        self._place += number
        return number

    def seek(self, offset: int, whence: int = 0) -> int:
        self._place = self._file.seek(offset, whence)
        return self._place

    def _hash_to(self, end: int | None) -> None:
        """Hash what was not yet, up to `end` or the file's."""
        self._file.seek(self._hashed)
        while block := self._file.read(_BLOCK if end is None else min(_BLOCK, end - self._hashed)):
            self._hash.update(block)
            self._hashed += len(block)

    def xxh3(self) -> str:
        """XXH3-128 of the whole file, hex; reads what nobody has read."""
        self._hash_to(None)
        self._file.seek(self._place)
        return self._hash.hexdigest()

    def close(self) -> None:
        self._file.close()
        super().close()
