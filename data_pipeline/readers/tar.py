"""Files of a tar, one after the other, by name and size alone: `tarfile` takes ten times as long, for attributes that nobody asks for.

What it does not know (long names, links, sparse files) it leaves to `tarfile`, from that place on.
"""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO

_BLOCK = tarfile.BLOCKSIZE
_ZEROS = bytes(_BLOCK)
_LARGEST_HEADER = 1 << 20
_REGULAR, _FOLDER, _PAX = (b'0', b'\0'), b'5', (b'x', b'g')


class Truncated(Exception):
    """The archive ends, or makes no sense, before its end mark."""


def members(file: BinaryIO, largest: int) -> Iterator[tuple[str, bytes | None, int]]:
    """(name, content, where it begins) of every regular file; the content is None if it is above `largest` bytes.

    Raises Truncated where the archive breaks off.
    """
    head, place = file.read(_BLOCK), file.tell()
    while head != _ZEROS:
        size, kind = _checked(head), head[156:157]
        if kind in _REGULAR and size <= largest:
            data = file.read(size)
            if len(data) < size:
                raise Truncated
            yield _name(head), data, place
            padding = -size % _BLOCK
            head = file.read(padding + _BLOCK)[padding:]  # both at once, as a call takes as long as a header's bytes
            place += size + padding + _BLOCK
            continue
        if kind in _REGULAR:
            yield _name(head), _content(file, size, largest), place
        elif kind in _PAX and not _changes_names(content := _content(file, size, _LARGEST_HEADER)):
            pass  # times, as webdataset writes them
        elif kind == _FOLDER:
            _content(file, size, 0)
        elif size > _LARGEST_HEADER and kind not in b'1234567':
            raise Truncated  # a header that would take the memory
        else:
            file.seek(-_BLOCK - (_padded(size) if kind in _PAX and content is not None else 0), 1)
            yield from _by_tarfile(file, largest)
            return
        head, place = file.read(_BLOCK), file.tell()


def _checked(head: bytes) -> int:
    """The size that a header tells. Adler-32's lower half is the sum of all bytes, plus one, modulo 65521: that of tar in one call."""
    try:
        if len(head) == _BLOCK and zlib.adler32(head[:148] + b' ' * 8 + head[156:]) & 0xFFFF == (int(head[148:154], 8) + 1) % 65521:
            return int(head[124:135], 8)
    except ValueError:
        pass
    raise Truncated


def _name(head: bytes) -> str:
    name = head[:100].partition(b'\0')[0]
    if head[345] and head[257:263] == b'ustar\0':
        name = head[345:500].partition(b'\0')[0] + b'/' + name
    return name.decode('utf8', 'surrogateescape')


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


def _content(file: BinaryIO, size: int, largest: int) -> bytes | None:
    if size > largest:
        file.seek(_padded(size), 1)
        return None
    data = file.read(size)
    if len(data) < size:
        raise Truncated
    file.seek(_padded(size) - size, 1)
    return data


def _changes_names(records: bytes | None) -> bool:
    return records is None or any(key in records for key in (b' path=', b' size=', b' linkpath=', b' hdrcharset=', b' GNU.'))


def _by_tarfile(file: BinaryIO, largest: int) -> Iterator[tuple[str, bytes | None, int]]:
    try:
        with tarfile.open(fileobj=file, mode='r:') as archive:
            for member in archive:
                if member.isreg():
                    handle = archive.extractfile(member) if member.size <= largest else None
                    place = -1 if member.issparse() else member.offset_data
                    yield member.name, handle.read() if handle else None, place
            # tarfile takes a damaged header for the end; a whole tar ends with a block of zeros.
            file.seek(archive.offset)
            if file.read(_BLOCK) != _ZEROS:
                raise Truncated
    except (tarfile.TarError, EOFError):
        raise Truncated from None
