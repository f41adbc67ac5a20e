"""JPEGs that need no work, told by their markers: a decoder takes a hundred times as long to say the same.

What a decoder refuses must not pass: tables and headers are held to what libjpeg asks of them (jdmarker.c, jdhuff.c). Damage to the coded
pixels themselves is not seen here; decoders go on over it.
"""

from __future__ import annotations

from functools import lru_cache

_SIZES = (0xC0, 0xC1)  # baseline and extended frames, in one scan; others, progressive ones too, are left to the decoder
_HUFFMAN, _SCAN, _QUANTISATION, _RESTART, _APP0, _EXIF, _COMMENT = 0xC4, 0xDA, 0xDB, 0xDD, 0xE0, 0xE1, 0xFE
Components = dict[int, int]  # number of a component -> its quantisation table
Header = tuple[tuple[int, int], int]  # width and height, where the coded pixels begin

_KNOWN = 4096  # bytes: headers up to this length are remembered
_UNFINISHED: Header = ((0, 0), 1 << 62)  # where no end mark is: there are no pixels


def plain_size(data: bytes) -> tuple[int, int] | None:
    """(width, height) of a JPEG that is complete, 8-bit, grey or of three components, and has no EXIF block that could turn it.

    None for anything else, which a decoder must then judge. A file that was cut off has no end mark after the begin of its scan.
    """
    scan = data.find(b'\xff\xda', 0, _KNOWN)
    end = scan + 2 + data[scan + 3] if 0 <= scan < len(data) - 3 else 0
    found = _known_header(data[:end]) if end else _UNFINISHED
    if found is _UNFINISHED:  # these two bytes stood within a segment, such as a colour profile, or far behind
        found = _header(data)
    return found[0] if found and data.rfind(b'\xff\xd9', found[1]) > 0 else None


def _header(data: bytes) -> Header | None:
    """Size, and where the coded pixels begin, by the segments of a file. None for what a decoder must judge."""
    if data[:2] != b'\xff\xd8':
        return None
    place = 2
    frame: tuple[tuple[int, int], Components] | None = None
    tables: frozenset[int] = frozenset()
    while place + 4 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xFF:  # a fill byte
            place += 1
            continue
        after = place + 2 + (data[place + 2] << 8 | data[place + 3])
        if after > len(data):
            break
        segment = data[place + 4 : after]
        if marker == _SCAN:
            return (frame[0], after) if frame is not None and _scans(segment, frame[1], tables) else None
        if marker in (_HUFFMAN, _QUANTISATION):
            found = _tables(marker, segment)
            if found is None:
                return None
            tables |= found
        elif marker in _SIZES:
            if frame is not None or (frame := _frame(segment)) is None:
                return None
        elif marker == _RESTART:
            if len(segment) != 2:
                return None
        elif marker == _EXIF or not (_APP0 <= marker < _APP0 + 16 or marker == _COMMENT):
            return None
        place = after
    return _UNFINISHED


# The pictures that one program has written at one size differ in nothing before their pixels.
_known_header = lru_cache(1024)(_header)


def _frame(segment: bytes) -> tuple[tuple[int, int], Components] | None:
    """Size and components of a frame header: precision, height, width, number of components, and of each its number, sampling, table."""
    if len(segment) < 6 or segment[0] != 8 or segment[5] not in (1, 3) or len(segment) != 6 + 3 * segment[5]:
        return None
    height, width = segment[1] << 8 | segment[2], segment[3] << 8 | segment[4]
    sampled = all(1 <= factors >> 4 <= 4 and 1 <= factors & 15 <= 4 for factors in segment[7::3])
    components = dict(zip(segment[6::3], segment[8::3], strict=True))
    return ((width, height), components) if width and height and sampled and len(components) == segment[5] else None


def _scans(segment: bytes, components: Components, tables: frozenset[int]) -> bool:
    """Whether a scan has all components, in order and whole, with tables that are there."""
    count = len(components)
    if len(segment) != 4 + 2 * count or segment[0] != count or segment[-3:] != b'\x00\x3f\x00' or segment[1:-3:2] != bytes(components):
        return False
    needed = {_key(_QUANTISATION, table) for table in components.values()}
    for coded in segment[2:-3:2]:
        needed |= {_key(_HUFFMAN, coded >> 4), _key(_HUFFMAN, 16 + (coded & 15))}
    return needed <= tables


@lru_cache(4096)  # nearly all files have the tables of a few encoders
def _tables(marker: int, segment: bytes) -> frozenset[int] | None:
    """Those that a segment defines; None for one that a decoder refuses."""
    found, place = set(), 0
    while place < len(segment):
        kind, body = segment[place], segment[place + 1 :]
        size = _huffman_size(kind, body) if marker == _HUFFMAN else _quantisation_size(kind)
        if size is None or size > len(body):
            return None
        found.add(_key(marker, kind if marker == _HUFFMAN else kind & 15))
        place += 1 + size
    return frozenset(found)


def _key(marker: int, table: int) -> int:
    return marker << 8 | table


def _quantisation_size(kind: int) -> int | None:
    """Bytes of a table, whose numbers have 8 or 16 bits."""
    return 64 * (1 + (kind >> 4)) if kind >> 4 <= 1 and kind & 15 <= 3 else None


def _huffman_size(kind: int, body: bytes) -> int | None:
    """Bytes of a table: how many codes there are of each length from 1 to 16, then what each stands for."""
    if kind >> 4 > 1 or kind & 15 > 3 or len(body) < 16:
        return None
    code = 0
    for length, count in enumerate(body[:16], 1):
        code += count
        if count and code >= 1 << length:  # no code is all ones
            return None
        code <<= 1
    symbols = body[16 : 16 + sum(body[:16])]
    return None if len(symbols) > 256 or (kind >> 4 == 0 and symbols and max(symbols) > 15) else 16 + sum(body[:16])
