"""Builds, models and pages see the same picture in a file: as a viewer shows it."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_pipeline.pictures import prepare
from data_pipeline.settings import Settings
from pretrain.config import Data
from pretrain.data.images import evaluation_image, read_picture, training_image
from pretrain.data.rng import generator
from shards.pictures import thumbnail

SIDE = 64
XMP = b'<x:xmpmeta><rdf:RDF><rdf:Description tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
# What a camera writes that was held in each of the eight ways: the inverse of what EXIF asks of a viewer.
HELD = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def upright(width: int = SIDE, height: int = SIDE) -> Image.Image:
    """Smooth, and unlike itself however it is turned or mirrored."""
    y, x = np.mgrid[0:height, 0:width] / max(width, height)
    return Image.fromarray((np.stack([x, y, x * y], -1) * 255).astype(np.uint8))


def photo(number: int, kind: str, **size: int) -> bytes:
    """The file of a camera that was held so that `number` is the picture's orientation."""
    exif, method, file = Image.Exif(), HELD[number], io.BytesIO()
    exif[0x0112] = number
    picture = upright(**size) if method is None else upright(**size).transpose(method)
    options = {'quality': 95, 'subsampling': 0} if kind == 'JPEG' else {}
    picture.save(file, kind, exif=exif, lossless=True, **options)
    return file.getvalue()


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert('RGB')).astype(int)


@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'WEBP'])
@pytest.mark.parametrize('number', HELD)
def test_a_photo_is_upright_however_the_camera_was_held(number: int, kind: str, tmp_path: Path) -> None:
    raw = photo(number, kind)
    (tmp_path / 'photo').write_bytes(raw)
    near = 3 if kind == 'JPEG' else 0
    options = Data(augment_min_scale=1)
    for seen in (
        evaluation_image(raw, SIDE),
        training_image(raw, SIDE, options, generator(0, 'cmcl', 0)),
        read_picture(tmp_path / 'photo', SIDE),
        read_picture(Image.open(tmp_path / 'photo'), SIDE),
    ):
        assert np.abs(seen.permute(1, 2, 0).numpy() - pixels(upright())).max() <= near
    assert np.abs(pixels(thumbnail(tmp_path / 'photo', SIDE)) - pixels(upright())).max() <= near


def test_a_large_photo_is_decoded_small_and_upright() -> None:
    seen = evaluation_image(photo(6, 'JPEG', width=1024, height=1024), SIDE).permute(1, 2, 0).numpy()
    assert np.abs(seen - pixels(upright(1024, 1024).resize((SIDE, SIDE), Image.Resampling.BOX))).max() < 4


def test_xmp_turns_a_picture_too() -> None:
    file = io.BytesIO()
    upright().transpose(HELD[6]).save(file, 'JPEG', quality=95, subsampling=0, xmp=XMP)  # type: ignore[arg-type]
    seen = evaluation_image(file.getvalue(), SIDE).permute(1, 2, 0).numpy()
    assert np.abs(seen - pixels(upright())).max() <= 3


@pytest.mark.filterwarnings('error')
def test_broken_exif_does_not_hide_the_picture() -> None:
    for broken in (b'Exif\0\0', b'Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12', b'Exif\0\0not a TIFF'):
        file = io.BytesIO()
        upright().save(file, 'JPEG', quality=95, subsampling=0, exif=broken)
        seen = evaluation_image(file.getvalue(), SIDE).permute(1, 2, 0).numpy()
        assert np.abs(seen - pixels(upright())).max() <= 3


def test_16_bits_of_grey_are_what_a_build_makes_of_them(tmp_path: Path) -> None:
    grey = np.linspace(0, 65535, SIDE * SIDE).reshape(SIDE, SIDE).astype(np.uint16)
    Image.fromarray(grey).save(tmp_path / 'grey.png')
    raw = (tmp_path / 'grey.png').read_bytes()
    seen = evaluation_image(raw, SIDE).permute(1, 2, 0).numpy().astype(int)
    assert np.abs(seen - grey[..., None] / 257).max() < 1
    assert np.abs(seen - pixels(Image.open(io.BytesIO(prepare(raw, Settings()))))).max() < 6, 'a build makes a JPEG of it'
    assert np.array_equal(pixels(thumbnail(tmp_path / 'grey.png', SIDE)), seen)
    assert np.array_equal(read_picture(Image.open(tmp_path / 'grey.png'), SIDE).permute(1, 2, 0).numpy(), seen)
