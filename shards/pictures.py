"""How the pixels of a file are read as a picture, the same when shards are built and when a model looks: upright, opaque, of 8 bits."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

from PIL import Image, ImageFile, ImageOps

SUFFIXES = ('.jpg', '.jpeg', '.png', '.webp')  # of files that hold pictures, in lower case
# What files may be, whatever their names: all are decoded within this process. Of the forty others that Pillow knows, EPS would start a
# program (Ghostscript). What phones write that holds several pictures (MPO) begins as a JPEG, and is opened as one.
FORMATS = ('JPEG', 'PNG', 'WEBP', 'GIF', 'TIFF', 'BMP')

_ORIENTATION = 0x0112  # of EXIF
_APP1 = b'\xff\xe1'  # begins what holds EXIF or XMP in a JPEG; no coded pixels have these bytes


def open_picture(file: bytes | str | Path) -> ImageFile.ImageFile:
    """A picture of one of FORMATS, by what it holds or by its path. Raises what Pillow does, UnidentifiedImageError for any other file."""
    return Image.open(io.BytesIO(file) if isinstance(file, bytes) else file, formats=FORMATS)


def orientation(image: Image.Image) -> int:
    """How EXIF, or else XMP, says that a picture is to be turned or mirrored when it is shown; 1: not at all, or nothing is said.

    Raises whatever Pillow's parsers stumble over.
    """
    number: int = image.getexif().get(_ORIENTATION, 1)
    return number


def readable_orientation(image: Image.Image) -> int:
    """`orientation`, and 1 where EXIF is broken: what an old program or a phone wrote beside the pixels is no reason to refuse them."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        try:
            return orientation(image)
        except Exception:  # Pillow's parsers raise whatever they stumble over
            return 1


def jpeg_orientation(raw: bytes) -> int:
    """`readable_orientation` of a JPEG, at next to no cost when it has neither EXIF nor XMP."""
    if _APP1 not in raw:
        return 1
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # Pillow reads EXIF as soon as it opens a file
        try:
            return readable_orientation(open_picture(raw))
        except Exception:  # damaged, or of more pixels than Pillow takes: who decodes it judges
            return 1


def upright(image: Image.Image, orientation: int) -> Image.Image:
    """A picture as it is to be shown."""
    if orientation == 1:
        return image
    image.getexif()[_ORIENTATION] = orientation
    shown: Image.Image = ImageOps.exif_transpose(image)
    return shown


def plain(image: Image.Image) -> Image.Image:
    """RGB or grey. Transparency goes onto white, 16 bits become 8."""
    if image.mode[0] in 'IF':  # 16-bit grey: convert('RGB') would clip at 255
        return image.convert('F').point(lambda value: value * (1 / 257)).convert('L')
    if image.mode in ('RGBA', 'LA', 'PA') or (image.mode != 'RGB' and 'transparency' in image.info):
        image = image.convert('RGBA')
        return Image.alpha_composite(Image.new('RGBA', image.size, 'white'), image).convert('RGB')
    return image if image.mode in ('RGB', 'L') else image.convert('RGB')


def as_shown(image: Image.Image) -> Image.Image:
    """Upright RGB. Raises OSError, ValueError or SyntaxError, which are Pillow's for what it cannot decode."""
    image.load()
    return plain(upright(image, readable_orientation(image))).convert('RGB')


def thumbnail(path: str | Path, side: int) -> Image.Image:
    """A file's picture `as_shown`, at most `side` pixels a side. Raises as that does, or DecompressionBombError for too many pixels."""
    with open_picture(path) as opened:
        opened.draft('RGB', (side, side))
        image = as_shown(opened)
    image.thumbnail((side, side))
    return image
