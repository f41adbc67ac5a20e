"""Picture bytes -> uint8 tensor. Normalisation is the model's."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import simplejpeg
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from pretrain.config import Data
from shards.errors import UserError
from shards.pictures import FORMATS, as_shown, jpeg_orientation, open_picture, upright

Picture = str | Path | bytes | Image.Image | NDArray[np.uint8]  # a file, what a file holds, or a decoded picture (H, W, 3)
Box = tuple[float, float, float, float]

_BILINEAR = Image.Resampling.BILINEAR


def evaluation_image(picture: bytes | Image.Image, size: int) -> Tensor:
    """The largest centred square, (3, size, size) uint8. Deterministic. Raises OSError for bytes that are no picture."""
    image = _open(picture, size) if isinstance(picture, bytes) else as_shown(picture)
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    return _tensor(_resized(image, size, (left, top, left + side, top + side)))


def named_image(raw: bytes, size: int, path: Path) -> Tensor:
    """`evaluation_image` of a file's bytes. Raises UserError that names the file when they are no picture."""
    try:
        return evaluation_image(raw, size)
    except OSError as error:  # Pillow's for what it cannot decode
        raise UserError(f'picture {path} cannot be decoded ({error}); replace it by the original') from None


def is_picture(value: object) -> bool:
    """Whether it is one picture, and not a sequence of them."""
    return isinstance(value, str | Path | bytes | Image.Image) or (isinstance(value, np.ndarray) and value.ndim != 4)


def read_picture(picture: Picture, size: int) -> Tensor:
    """`evaluation_image` of a picture in any form. Raises UserError, which names the file where there is one, for what is none."""
    if isinstance(picture, np.ndarray):
        picture = _of_array(picture)
    if isinstance(picture, str | Path):
        try:
            raw = Path(picture).read_bytes()
        except OSError as error:
            raise UserError(f'picture {picture} cannot be read ({error.strerror}); see its path and its permissions') from None
        return named_image(raw, size, Path(picture))
    if not isinstance(picture, bytes | Image.Image):
        what = f'{type(picture).__name__} given as a picture'  # type: ignore[unreachable]  # by those who do not check types
        raise UserError(f"{what}; give a file's name, its bytes, a PIL image, or a numpy array of uint8 (height, width, 3)")
    try:
        return evaluation_image(picture, size)
    except OSError as error:
        what = f'{len(picture)} bytes' if isinstance(picture, bytes) else f'a PIL image of {picture.width}x{picture.height}'
        raise UserError(f'{what} given as a picture cannot be decoded ({error}); give a JPEG, PNG or WebP') from None


def _of_array(pixels: NDArray[np.uint8]) -> Image.Image:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise UserError(f'a numpy array of {pixels.dtype} {pixels.shape} given as a picture; give one of uint8 (height, width, 3)')
    return Image.fromarray(np.ascontiguousarray(pixels))


def training_image(raw: bytes, size: int, options: Data, generator: np.random.Generator) -> Tensor:
    """A random crop, perhaps mirrored and with other colours, (3, size, size) uint8. Raises OSError for bytes that are no picture."""
    if options.augment_min_scale == 1:
        image = evaluation_image(raw, size)
    else:
        opened = _open(raw, round(size / math.sqrt(options.augment_min_scale)))
        box = _crop(opened.width, opened.height, options, generator)
        image = _tensor(_resized(opened, size, box))
    if options.augment_flip and generator.random() < options.augment_flip:
        image = image.flip(2)
    if options.augment_colour:
        image = _recolour(image, options.augment_colour, generator)
    return image


def _open(raw: bytes, size: int) -> Image.Image:
    """RGB as it is to be shown. A JPEG is decoded at the smallest scale that still has `size` pixels a side."""
    try:
        if raw.startswith(b'\xff\xd8'):
            turning = jpeg_orientation(raw)
            try:  # in half of Pillow's time, and of sixteen scales, where Pillow's draft mode knows four
                return upright(Image.fromarray(simplejpeg.decode_jpeg(raw, 'RGB', min_height=size, min_width=size)), turning)
            except ValueError:
                pass  # CMYK, or damaged: Pillow judges
        image: Image.Image = open_picture(raw)
        image.draft('RGB', (size, size))
        return as_shown(image)
    except UnidentifiedImageError:  # whose message names an object in memory
        raise OSError(f'it is none of {", ".join(FORMATS)}') from None
    except (ValueError, SyntaxError, Image.DecompressionBombError) as error:  # Pillow, of a broken PNG chunk or far too many pixels
        raise OSError(str(error)) from None


def _crop(width: int, height: int, options: Data, generator: np.random.Generator) -> Box:
    """A nearly square box of `augment_min_scale` to 1 of the largest square's area, anywhere in the picture."""
    scale, aspect, across, down = generator.random(4).tolist()
    min_scale = options.augment_min_scale
    side = min(width, height) * math.sqrt(min_scale + (1 - min_scale) * scale)
    stretch = math.exp(options.augment_aspect * (aspect - 0.5))
    w, h = min(side * stretch, width), min(side / stretch, height)
    left, top = across * (width - w), down * (height - h)
    return left, top, left + w, top + h


def _resized(image: Image.Image, size: int, box: Box) -> Image.Image:
    return image.resize((size, size), _BILINEAR, box=box, reducing_gap=2.0)


def _tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.asarray(image).transpose(2, 0, 1).copy())


def _recolour(image: Tensor, strength: float, generator: np.random.Generator) -> Tensor:
    """Brightness, contrast and a gain per channel, each within 1 +- strength (gains: half of it): one table for all."""
    draws = generator.uniform(-1, 1, 5)
    contrast, brightness = 1 + strength * draws[:2]
    gains = brightness * (1 + strength / 2 * draws[2:])
    levels = np.arange(256)
    tables = np.clip(((levels - 128) * contrast + 128) * gains[:, None], 0, 255).astype(np.uint8)  # (3, 256)
    pixels = image.numpy()
    return torch.from_numpy(np.stack([tables[channel][pixels[channel]] for channel in range(3)]))
