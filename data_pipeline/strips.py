"""Decoded pictures made upright, plain and small, in strips where they are large.

Each of these steps copies a picture whole, at four bytes a pixel: of one at `--max-pixels` the copies would be above a worker's memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from PIL import Image

from shards.pictures import plain, upright

_STRIP = 1 << 21  # pixels: a smaller picture is taken whole
_GAP = 2.0  # Pillow's `reducing_gap`: pixels are averaged in whole blocks to this many times the size that is wanted, then resampled


def shrunk(image: Image.Image, turning: int, side: int) -> Image.Image:
    """RGB or grey, upright (`turning` is EXIF's orientation), no longer than `side`: `plain(upright(...))` and Pillow's `thumbnail`.

    The strips make no difference to the result: an average is of one strip alone.
    """
    width, height = image.size[::-1] if turning in (5, 6, 7, 8) else image.size
    if width * height <= _STRIP:
        whole = plain(upright(image, turning))
        whole.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=_GAP)
        return whole
    size = _size(width, height, side)
    across, down = int(width / size[0] / _GAP) or 1, int(height / size[1] / _GAP) or 1
    rows = max(1, _STRIP // (width * down)) * down
    found: Image.Image | None = None
    for top in range(0, height, rows):
        strip = plain(upright(image.crop(_box(image, turning, top, min(top + rows, height))), turning)).reduce((across, down))
        if found is None:
            found = Image.new(strip.mode, (-(-width // across), -(-height // down)))
            found.info = strip.info  # a comment goes into the JPEG
        found.paste(strip, (0, top // down))
    assert found is not None
    if size == (width, height):
        return found
    return found.resize(size, Image.Resampling.LANCZOS, (0, 0, width / across, height / down))


def _size(width: int, height: int, side: int) -> tuple[int, int]:
    """What Pillow's `thumbnail` makes of a size."""
    if max(width, height) <= side:
        return width, height
    aspect = width / height
    if aspect <= 1:
        return _rounded(side * aspect, lambda length: abs(aspect - length / side)), side
    return side, _rounded(side / aspect, lambda length: abs(aspect - side / length) if length else 0)


def _rounded(number: float, far: Callable[[int], float]) -> int:
    return max(min(math.floor(number), math.ceil(number), key=far), 1)


def _box(image: Image.Image, turning: int, top: int, bottom: int) -> tuple[int, int, int, int]:
    """Where the rows `top` to `bottom` of the upright picture are in the stored one."""
    width, height = image.size
    if turning in (5, 6):
        return top, 0, bottom, height
    if turning in (7, 8):
        return width - bottom, 0, width - top, height
    return (0, height - bottom, width, height - top) if turning in (3, 4) else (0, top, width, bottom)
