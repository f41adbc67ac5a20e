r"""Lines of plain, gz and xz files, split at \n alone: U+2028, U+0085, a lone CR and NUL are ordinary characters of a text."""

from __future__ import annotations

import gzip
import lzma
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from data_pipeline.decompression import open_compressed
from data_pipeline.drops import Drops
from shards.errors import UserError

LONGEST_LINE = 16 << 20  # bytes; a longer one is no text (or a decompression bomb): it is counted and skipped in bounded memory
_BLOCK = 1 << 20  # bytes that are looked at together


def open_binary(path: Path) -> BinaryIO:
    """Open a file for reading its decompressed bytes, by suffix."""
    try:
        return open_compressed(path) if path.suffix in ('.gz', '.xz') else open(path, 'rb')
    except OSError as error:
        raise UserError(f'{path} cannot be read ({error.strerror})') from None


@contextmanager
def _damage_told(name: str | Path) -> Iterator[None]:
    """A damaged or truncated file raises UserError when its readable part is through."""
    try:
        yield
    except EOFError:
        raise UserError(f'{name} is truncated: its compressed data ends too early; download it again') from None
    except (lzma.LZMAError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f'{name} is damaged or not in the format that its name says ({error}); download it again') from None


def aligned_lines(handle: BinaryIO, name: str | Path) -> Iterator[bytes | None]:
    r"""Lines without their \n, None for one longer than `LONGEST_LINE`. Raises UserError for a damaged or truncated file."""
    with _damage_told(name):
        while line := handle.readline(LONGEST_LINE):
            if len(line) == LONGEST_LINE and not line.endswith(b'\n'):
                while (rest := handle.readline(LONGEST_LINE)) and not rest.endswith(b'\n'):
                    pass
                yield None
            else:
                yield line[:-1] if line.endswith(b'\n') else line


def binary_lines(handle: BinaryIO, name: str | Path, drops: Drops) -> Iterator[bytes]:
    """`aligned_lines` where no other file is aligned: too long ones are counted and left out."""
    for line in aligned_lines(handle, name):
        if line is None:
            drops.add('line_too_long')
        else:
            yield line


def decode(lines: Iterable[bytes], drops: Drops) -> Iterator[str]:
    """Text of each line; a line that is not UTF-8 is counted and left out."""
    for line in lines:
        try:
            yield line.decode('utf8')
        except UnicodeDecodeError:
            drops.add('invalid_utf8', 1, line)


def utf8_blocks(path: Path, drops: Drops) -> Iterator[bytes]:
    r"""The lines of `text_lines` in UTF-8, many at a time, without the last \n. A call a line would take as long as xz."""
    rest = b''  # of a line that goes on in the next block
    with open_binary(path) as handle, _damage_told(path):
        while block := handle.read(_BLOCK):
            first, end, others = block.partition(b'\n')
            if not end:
                rest = _bounded(rest + first)
                continue
            if len(rest) + len(first) >= LONGEST_LINE:
                drops.add('line_too_long')
                block = others
            else:
                block = rest + block
            body, end, rest = block.rpartition(b'\n')
            if end:
                yield from _valid(body, drops)
        if len(rest) >= LONGEST_LINE:
            drops.add('line_too_long')
        elif rest:
            yield from _valid(rest, drops)


def _bounded(line: bytes) -> bytes:
    """The begin of a line: of one that is too long already no more than that can be told."""
    return line[:LONGEST_LINE]


def _valid(block: bytes, drops: Drops) -> Iterator[bytes]:
    try:
        block.decode('utf8')
        yield block
    except UnicodeDecodeError:
        if lines := list(decode(block.split(b'\n'), drops)):
            yield '\n'.join(lines).encode()


def text_lines(path: Path, drops: Drops) -> Iterator[str]:
    """Decoded lines of a file."""
    with open_binary(path) as handle:
        yield from decode(binary_lines(handle, path, drops), drops)
