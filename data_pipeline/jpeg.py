"""JPEGs that need no work, told by their markers: a decoder takes a hundred times as long to say the same."""

from __future__ import annotations

_SIZES = (0xC0, 0xC1, 0xC2)  # baseline, extended and progressive frames; others are rare, and left to the decoder
_SCAN, _EXIF = 0xDA, 0xE1


def plain_size(data: bytes) -> tuple[int, int] | None:
    """(width, height) of a JPEG that is complete, 8-bit, grey or of three components, and has no EXIF block that could turn it.

    None for anything else, which a decoder must then judge. A file that was cut off has no end mark after the begin of its scan; damage
    between the two is not seen here, nor by most decoders.
    """
    if data[:2] != b'\xff\xd8':
        return None
    place, size = 2, None
    while place + 4 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xFF:  # a fill byte
            place += 1
            continue
        after = place + 2 + (data[place + 2] << 8 | data[place + 3])
        if marker in _SIZES:
            head = data[place + 4 : place + 10]
            if len(head) < 6 or head[0] != 8 or head[5] not in (1, 3):
                return None
            size = (head[3] << 8 | head[4], head[1] << 8 | head[2])
        elif marker == _EXIF or marker < 0xC0 or 0xD0 <= marker <= 0xD9:
            return None
        elif marker == _SCAN:
            whole = size is not None and min(size) > 0 and data.rfind(b'\xff\xd9', after) > 0
            return size if whole else None
        place = after
    return None
