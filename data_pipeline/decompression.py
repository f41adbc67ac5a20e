"""Decompressed bytes of gz and xz files, of which a hostile one can do no more than waste time.

Everything is streamed. What is refused: more than `RATIO` times the size of the file (and `FLOOR`), which no text reaches, and an xz file
that demands more than `XZ_MEMORY` for its dictionary (`xz -9` needs 65 MiB).
"""

from __future__ import annotations

import gzip
import io
import lzma
from pathlib import Path
from typing import BinaryIO, cast

from shards.errors import UserError

RATIO = 1000
FLOOR = 1 << 30  # bytes: a small bomb is harmless
XZ_MEMORY = 256 << 20
_CHUNK = 1 << 18
_BUFFER = 1 << 17


def open_compressed(path: Path) -> BinaryIO:
    """Open a `.gz` or `.xz`. Reading raises UserError for a bomb, and what gzip and lzma raise for damage."""
    raw = _Xz(path) if path.suffix == '.xz' else cast(io.RawIOBase, gzip.GzipFile(path))
    return cast(BinaryIO, io.BufferedReader(_Bounded(raw, path), _BUFFER))


class _Bounded(io.RawIOBase):
    """Passes on what another stream reads, up to the bound."""

    def __init__(self, inner: io.RawIOBase, path: Path) -> None:
        self._inner, self._path = inner, path
        self._left = max(FLOOR, RATIO * path.stat().st_size)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        number = self._inner.readinto(buffer) or 0
        self._left -= number
        if self._left < 0:
            raise UserError(f'{self._path} unpacks to more than {RATIO} times its size, as no text does: refused as a decompression bomb')
        return number

    def close(self) -> None:
        self._inner.close()
        super().close()


class _Xz(io.RawIOBase):
    """`lzma.open`, which knows no limit of memory. Several streams after each other, with padding, are one file."""

    def __init__(self, path: Path) -> None:
        self._file = open(path, 'rb')  # noqa: SIM115  (closed by `close`)
        self._decoder = lzma.LZMADecompressor(memlimit=XZ_MEMORY)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while True:
            if self._decoder.eof:
                rest = self._decoder.unused_data.lstrip(b'\0')
                while not rest and (more := self._file.read(_CHUNK)):
                    rest = more.lstrip(b'\0')
                if not rest:
                    return 0
                self._decoder = lzma.LZMADecompressor(memlimit=XZ_MEMORY)
                data = self._decoder.decompress(rest, len(buffer))
            elif self._decoder.needs_input:
                chunk = self._file.read(_CHUNK)
                if not chunk:
                    raise EOFError('the file ends before its end mark')
                data = self._decoder.decompress(chunk, len(buffer))
            else:
                data = self._decoder.decompress(b'', len(buffer))
            if data:
                buffer[: len(data)] = data
                return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


class BoundedGzip(gzip.GzipFile):
    """For tarfile, which reads a header of whatever size it is told in one piece."""

    LARGEST = 16 << 20  # bytes of a header, or of what is read of a member at a time

    def read(self, size: int | None = -1) -> bytes:
        if size is None or size < 0 or size > self.LARGEST:
            raise OSError(f'a header of {size} bytes')
        return super().read(size)
