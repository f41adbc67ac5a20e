"""Builds, models and pages see the same picture in a file: as a viewer shows it."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

from data_pipeline.evaluation_hashes import picture_hash
from data_pipeline.pictures import BadPicture, prepare
from data_pipeline.settings import Settings
from pretrain.config import Data
from pretrain.data.images import evaluation_image, read_picture, training_image
from pretrain.data.rng import generator
from shards.errors import UserError
from shards.pictures import jpeg_orientation, open_picture, thumbnail
from tests.docs.commands import ROOT

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


def test_a_picture_starts_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """EPS is for Ghostscript, which Pillow runs where it is installed, whatever the file's name."""
    mark, program, file = tmp_path / 'ran', tmp_path / 'bin/gs', tmp_path / 'photo.jpg'
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\ntouch {mark}\n')
    program.chmod(0o755)
    monkeypatch.setenv('PATH', str(program.parent), prepend=':')
    monkeypatch.setattr(EpsImagePlugin, 'gs_binary', None)  # what an earlier test has found
    upright().save(file, 'EPS')
    raw = file.read_bytes()
    with pytest.raises(OSError), Image.open(file) as image:
        image.load()
    assert mark.exists(), 'Pillow alone runs it'
    mark.unlink()
    attempts: list[tuple[type[Exception], Callable[[], object]]] = [
        (BadPicture, lambda: prepare(raw, Settings())),
        (BadPicture, lambda: picture_hash(raw)),
        (OSError, lambda: thumbnail(file, SIDE)),
        (OSError, lambda: open_picture(raw)),
        (OSError, lambda: evaluation_image(raw, SIDE)),
        (OSError, lambda: training_image(raw, SIDE, Data(), generator(0, 'cmcl', 0))),
        (UserError, lambda: read_picture(file, SIDE)),
    ]
    for error, attempt in attempts:
        with pytest.raises(error):
            attempt()
    assert jpeg_orientation(raw + b'\xff\xe1') == 1
    assert not mark.exists()


def test_what_holds_several_pictures_is_opened_as_a_jpeg() -> None:
    """As phones write it, with a preview or a depth behind the photo."""
    file = io.BytesIO()
    upright().save(file, 'MPO', save_all=True, append_images=[Image.new('RGB', (SIDE, SIDE))], quality=95, subsampling=0)
    raw = file.getvalue()
    assert open_picture(raw).format == 'MPO'
    for data in (raw, prepare(raw, Settings())):
        assert np.abs(evaluation_image(data, SIDE).permute(1, 2, 0).numpy() - pixels(upright())).max() <= 8


def test_files_are_opened_in_one_place() -> None:
    places = [path for room in ('data_pipeline', 'shards', 'pretrain', 'downstream') for path in (ROOT / room).rglob('*.py')]
    opening = [path.relative_to(ROOT).as_posix() for path in places if re.search(r'\bImage\.open\(', path.read_text(encoding='utf8'))]
    assert opening == ['shards/pictures.py']
