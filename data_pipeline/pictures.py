"""Checks and conversion of pictures."""

from __future__ import annotations

import hashlib
import io
import warnings

from PIL import Image, ImageFile

from data_pipeline.jpeg import plain_size
from data_pipeline.resize import shrink
from data_pipeline.settings import Settings
from data_pipeline.strips import shrunk
from shards.pictures import open_picture, orientation

LARGEST_FILE = 64 << 20  # bytes; larger ones are not read
_PASS = {'JPEG', 'PNG', 'WEBP'}
_DOUBLE = {'WEBP'}  # Pillow's decoder of these holds four copies of a picture, so that half the area takes as much memory
_PLAIN_MODES = {'RGB', 'L', '1'}  # what a reader's convert('RGB') turns into the same colours without further thought

ImageFile.LOAD_TRUNCATED_IMAGES = False
Image.MAX_IMAGE_PIXELS = None  # the area is checked here, against `max_pixels`, before anything is decoded


class BadPicture(Exception):
    """A picture that is left out; the text is its drop reason."""


def image_id(image: bytes) -> str:
    """Name of a picture: 16 hex digits of the SHA-256 of its bytes."""
    return f'{image_number(image):016x}'


def image_number(image: bytes) -> int:
    """`image_id` as a number of 64 bits."""
    return int.from_bytes(hashlib.sha256(image).digest()[:8], 'big')


def prepare(data: bytes, settings: Settings) -> bytes:
    """Bytes of the picture as they go into a shard.

    Untouched if it is a JPEG, PNG or WebP that is small enough and has a plain colour mode, else made upright and opaque, shrunk, and JPEG.

    Raises BadPicture for one that is broken, truncated, too small or too large.
    """
    if len(data) > LARGEST_FILE:
        raise BadPicture('picture_file_too_large')
    size = plain_size(data)  # most need no decoder to tell
    if size and settings.min_side <= min(size) and size[0] * size[1] <= settings.max_pixels:
        if max(size) <= settings.image_side:
            return data
        if (shrunk := shrink(data, size, settings.image_side, settings.quality, settings.resizer)) is not None:
            return shrunk
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # about odd EXIF and ICC blocks, which do not concern the pixels
            return _prepare(data, settings)
    except BadPicture:
        raise
    except Exception as error:  # Pillow's parsers raise whatever they stumble over; a bad picture costs one record, never a build
        raise BadPicture('picture_truncated' if 'truncated' in str(error) else 'picture_not_decodable') from None


def _prepare(data: bytes, settings: Settings) -> bytes:
    with open_picture(data) as image:
        width, height = image.size
        if width * height * (2 if image.format in _DOUBLE else 1) > settings.max_pixels:
            raise BadPicture('picture_too_large')
        if min(width, height) < settings.min_side:
            raise BadPicture('picture_too_small')
        side = settings.image_side
        small = max(width, height) <= side
        if image.format == 'PNG':
            _verify(data)
        if image.format == 'JPEG' and not small:
            image.draft(None, (side, side))  # decodes at a half, quarter or eighth of the size
        image.load()  # decodes it whole: a truncated file raises here
        turning = orientation(image)
        if small and turning == 1 and image.format in _PASS and _plain_mode(image) and getattr(image, 'n_frames', 1) == 1:
            return data
        return _encode(shrunk(image, turning, side), settings.quality)


def _verify(data: bytes) -> None:
    """Check the sums that a PNG carries; decoding it does not."""
    with open_picture(data) as image:
        image.verify()


def _plain_mode(image: Image.Image) -> bool:
    if image.mode in ('RGBA', 'LA'):
        low, _ = image.getchannel('A').getextrema()
        return low == 255  # opaque throughout
    return image.mode in _PLAIN_MODES or (image.mode == 'P' and 'transparency' not in image.info)


def _encode(image: Image.Image, quality: int) -> bytes:
    out = io.BytesIO()
    image.save(out, 'JPEG', quality=quality, optimize=False)
    return out.getvalue()
