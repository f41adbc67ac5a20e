"""Shrinks plain JPEGs in well under half of the time that Pillow alone takes (benchmarks/data.py compares the libraries).

libjpeg-turbo, through simplejpeg, decodes at the smallest of its sixteen scales that is large enough (Pillow's draft mode knows four), with
its fast transforms, and encodes. What is left between its scale and the size that is wanted is less than a factor of two, nearly always
much less: OpenCV's bilinear rule, in the variant whose result is the same bit for bit on every processor. Where more is left, as of
pictures that are more than eight times as long as wanted, Pillow resizes, which takes all pixels into account.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

_Pixels = NDArray[np.uint8]  # height, width, 4 or 1


def shrink(data: bytes, size: tuple[int, int], side: int, quality: int, resizer: str) -> bytes | None:
    """A JPEG of `size` (see `jpeg.plain_size`) made no longer than `side`; None when it is damaged and Pillow should judge it.

    `resizer` is `opencv`, or `pillow` for Pillow always.
    """
    scale = side / max(size)
    width, height = (max(1, round(length * scale)) for length in size)
    try:
        # Four bytes for a pixel of three colours: Pillow keeps it so, and OpenCV is faster with it.
        space = 'GRAY' if simplejpeg.decode_jpeg_header(data)[2] == 'Gray' else 'RGBX'
        pixels = simplejpeg.decode_jpeg(data, space, fastdct=True, fastupsample=True, min_height=height, min_width=width, min_factor=1)
    except ValueError:
        return None
    if resizer == 'opencv' and pixels.shape[0] <= 2 * height and pixels.shape[1] <= 2 * width:
        shrunk = _by_opencv(pixels, width, height)
    else:
        shrunk = _by_pillow(pixels, width, height)
    encoded: bytes = simplejpeg.encode_jpeg(shrunk, quality, space, 'Gray' if space == 'GRAY' else '420', fastdct=True)
    return encoded


def _by_opencv(pixels: _Pixels, width: int, height: int) -> _Pixels:
    cv2 = _cv2()
    shrunk: _Pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR_EXACT)
    return shrunk.reshape(height, width, -1)  # of a grey picture it drops the last axis


@cache
def _cv2() -> Any:
    import cv2  # a sixth of a second: only where pictures are shrunk

    cv2.setNumThreads(1)  # a worker is given one core
    return cv2


def _by_pillow(pixels: _Pixels, width: int, height: int) -> _Pixels:
    mode, raw = ('L', 'L') if pixels.shape[2] == 1 else ('RGB', 'RGBX')
    image = Image.frombuffer(mode, (pixels.shape[1], pixels.shape[0]), pixels, 'raw', raw, 0, 1)
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    return np.frombuffer(image.tobytes('raw', raw), np.uint8).reshape(height, width, -1)
