"""JPEG -> JPEG with the longer side shrunk, by each of the libraries that do it: the candidates for the fastest bare path.

The project depends on all of them but libvips, which is used where it is installed.
"""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Callable
from importlib import import_module

import numpy as np
from PIL import Image

SIDE, QUALITY = 512, 90


def pillow(data: bytes) -> bytes:
    """Draft mode decodes at a half, quarter or eighth of the size; then Lanczos with a reducing gap."""
    image = Image.open(io.BytesIO(data))
    image.draft(None, (SIDE, SIDE))
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS, reducing_gap=2.0)
    out = io.BytesIO()
    image.save(out, 'JPEG', quality=QUALITY)
    return out.getvalue()


def opencv(data: bytes) -> bytes:
    cv2 = import_module('cv2')
    cv2.setNumThreads(1)
    with Image.open(io.BytesIO(data)) as image:  # the size alone
        longest = max(image.size)
    flag = cv2.IMREAD_REDUCED_COLOR_2 if longest >= 2 * SIDE else cv2.IMREAD_COLOR
    flag = cv2.IMREAD_REDUCED_COLOR_4 if longest >= 4 * SIDE else flag
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flag)
    scale = SIDE / max(pixels.shape[:2])
    size = (round(pixels.shape[1] * scale), round(pixels.shape[0] * scale))
    return bytes(cv2.imencode('.jpg', cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1])


def simplejpeg(data: bytes) -> bytes:
    """libjpeg-turbo's scaled decoding, OpenCV's resize."""
    cv2, turbo = import_module('cv2'), import_module('simplejpeg')
    cv2.setNumThreads(1)
    pixels = turbo.decode_jpeg(data, 'RGB', fastdct=True, fastupsample=True, min_height=SIDE, min_width=SIDE, min_factor=1)
    scale = SIDE / max(pixels.shape[:2])
    size = (round(pixels.shape[1] * scale), round(pixels.shape[0] * scale))
    return bytes(turbo.encode_jpeg(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), QUALITY, colorsubsampling='420', fastdct=True))


def linear(data: bytes) -> bytes:
    """As before, but decoded to the smallest scale that is large enough, in pixels of four bytes, and resized by the bilinear rule."""
    cv2, turbo = import_module('cv2'), import_module('simplejpeg')
    cv2.setNumThreads(1)
    with Image.open(io.BytesIO(data)) as image:  # the size alone
        scale = SIDE / max(image.size)
        width, height = (round(length * scale) for length in image.size)
    pixels = turbo.decode_jpeg(data, 'RGBX', fastdct=True, fastupsample=True, min_height=height, min_width=width, min_factor=1)
    small = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR_EXACT)
    return bytes(turbo.encode_jpeg(small, QUALITY, 'RGBX', '420', fastdct=True))


def vips(data: bytes) -> bytes:
    """libvips' thumbnail: shrink on load, then Lanczos."""
    return bytes(import_module('pyvips').Image.thumbnail_buffer(data, SIDE, height=SIDE, size='down').jpegsave_buffer(Q=QUALITY))


def resizers() -> dict[str, Callable[[bytes], bytes]]:
    """Those whose libraries are installed, by name."""
    found: dict[str, Callable[[bytes], bytes]] = {'Pillow with draft mode': pillow}
    for name, modules, run in (
        ('OpenCV', ('cv2',), opencv),
        ('simplejpeg and OpenCV', ('simplejpeg', 'cv2'), simplejpeg),
        ('simplejpeg and OpenCV, bilinear', ('simplejpeg', 'cv2'), linear),
        ('libvips', ('pyvips',), vips),
    ):
        if all(importlib.util.find_spec(module) for module in modules):
            found[name] = run
    return found
