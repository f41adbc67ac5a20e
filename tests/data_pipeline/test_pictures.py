"""What goes into a shard, and what is dropped, for pictures of every kind."""

from __future__ import annotations

import hashlib
import io
import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_pipeline.pictures import BadPicture, image_id, prepare
from data_pipeline.resize import _by_opencv
from data_pipeline.settings import RESIZERS, Settings

SETTINGS = Settings()
SAMPLE = Path(__file__).parents[2] / 'sample/raw/cc12m/images_files/00000'


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def gradient(width: int = 80, height: int = 60) -> Image.Image:
    y, x = np.mgrid[0:height, 0:width]
    return Image.fromarray(np.stack([255 * x // width, 255 * y // height, 255 - 255 * x // width], -1).astype(np.uint8))


def pixels(data: bytes) -> np.ndarray:
    """As a reader sees it."""
    return np.asarray(Image.open(io.BytesIO(data)).convert('RGB')).astype(int)


@pytest.mark.parametrize(
    ('kind', 'options', 'mode'),
    [
        ('JPEG', {}, 'RGB'),
        ('JPEG', {}, 'L'),
        ('JPEG', {'progressive': True}, 'RGB'),
        ('PNG', {}, 'RGB'),
        ('PNG', {}, 'L'),
        ('PNG', {}, 'RGBA'),
        ('WEBP', {}, 'RGB'),
        ('WEBP', {}, 'RGBA'),
    ],
)
def test_small_ones_pass_untouched(kind: str, options: dict[str, object], mode: str) -> None:
    data = encode(gradient().convert(mode), kind, **options)
    assert prepare(data, SETTINGS) == data


def test_samples_pass_untouched() -> None:
    for path in SAMPLE.glob('*.jpg'):
        assert prepare(path.read_bytes(), SETTINGS) == path.read_bytes()
        assert image_id(path.read_bytes()) == json.loads(path.with_suffix('.json').read_text())['sha256'][:16]


def test_large_ones_shrink() -> None:
    for kind in ('JPEG', 'PNG'):
        result = prepare(encode(gradient(1600, 900), kind), SETTINGS)
        image = Image.open(io.BytesIO(result))
        assert (image.format, image.size) == ('JPEG', (512, 288))
        assert np.abs(pixels(result) - np.asarray(gradient(512, 288)).astype(int)).mean() < 3
    assert Image.open(io.BytesIO(prepare(encode(gradient(300, 200), 'JPEG'), Settings(image_side=100)))).size == (100, 67)


def test_either_resizer_shrinks_to_nearly_the_same_and_pillow_takes_what_is_much_too_large() -> None:
    for size in ((1600, 1200), (600, 1100), (521, 16)):
        for mode in ('RGB', 'L'):
            data = encode(gradient(*size).convert(mode), 'JPEG')
            opencv, pillow = (prepare(data, Settings(resizer=name)) for name in RESIZERS)
            assert np.abs(pixels(opencv) - pixels(pillow)).mean() < 1
            assert Image.open(io.BytesIO(opencv)).mode == mode
    far = encode(Image.effect_noise((1700, 400), 90).convert('RGB'), 'JPEG')  # libjpeg-turbo's smallest scale is an eighth
    assert prepare(far, Settings(image_side=100)) == prepare(far, Settings(image_side=100, resizer='pillow'))
    assert prepare(far, Settings(image_side=107)) != prepare(far, Settings(image_side=107, resizer='pillow'))


def test_opencv_resizes_the_same_everywhere() -> None:
    """Another version, or processor, that rounds in another way would make other shards of the same pictures."""
    noise = np.random.Generator(np.random.PCG64(0)).integers(0, 256, (450, 601, 4), np.uint8)
    small = _by_opencv(noise, 512, 383)
    assert hashlib.sha256(small.tobytes()).hexdigest()[:16] == 'c0d29452726aa9dc'
    assert _by_opencv(noise[..., :1].copy(), 512, 383).shape == (383, 512, 1)


@pytest.mark.parametrize('kind', ['BMP', 'GIF', 'TIFF'])
def test_other_formats_become_jpeg(kind: str) -> None:
    result = prepare(encode(gradient(), kind), SETTINGS)
    assert Image.open(io.BytesIO(result)).format == 'JPEG'
    assert np.abs(pixels(result) - pixels(encode(gradient(), 'PNG'))).mean() < 8


def test_cmyk() -> None:
    data = encode(gradient().convert('CMYK'), 'JPEG', quality=95)
    result = prepare(data, SETTINGS)
    assert Image.open(io.BytesIO(result)).mode == 'RGB'
    assert np.abs(pixels(result) - pixels(data)).mean() < 4


def test_transparency_goes_onto_white() -> None:
    image = gradient().convert('RGBA')
    image.putalpha(Image.new('L', image.size, 0))
    assert pixels(prepare(encode(image, 'PNG'), SETTINGS)).min() > 250
    palette = Image.new('P', (40, 40), 0)
    palette.putpalette([0, 0, 0, 255, 0, 0])
    assert pixels(prepare(encode(palette, 'PNG', transparency=0), SETTINGS)).min() > 250
    assert prepare(encode(palette, 'PNG'), SETTINGS) == encode(palette, 'PNG')  # opaque: any reader gets it right
    assert np.array_equal(
        pixels(prepare(encode(gradient().convert('LA'), 'PNG'), SETTINGS)), pixels(encode(gradient().convert('L'), 'PNG'))
    )


def test_16_bits_are_scaled_not_clipped() -> None:
    grey = np.linspace(0, 65535, 80 * 60).reshape(60, 80).astype(np.uint16)
    result = pixels(prepare(encode(Image.fromarray(grey), 'PNG'), SETTINGS))
    assert np.abs(result[..., 0] - grey / 257).max() < 6


def test_exif_rotation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    result = prepare(encode(gradient(), 'JPEG', exif=exif), SETTINGS)
    image = Image.open(io.BytesIO(result))
    assert image.size == (60, 80)
    assert image.getexif().get(0x0112, 1) == 1
    assert np.abs(pixels(result) - np.asarray(gradient().rotate(-90, expand=True)).astype(int)).mean() < 4


def test_animation_gives_its_first_picture() -> None:
    for kind in ('WEBP', 'PNG', 'GIF'):
        data = encode(gradient(), kind, save_all=True, append_images=[Image.new('RGB', (80, 60))])
        result = Image.open(io.BytesIO(prepare(data, SETTINGS)))
        assert getattr(result, 'n_frames', 1) == 1
        assert np.abs(np.asarray(result.convert('RGB')).astype(int) - np.asarray(gradient()).astype(int)).mean() < 8


def bomb(width: int, height: int) -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack('>I', len(content)) + name + content + struct.pack('>I', zlib.crc32(name + content))

    header = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + chunk(b'IDAT', zlib.compress(b'\0' * 1000)) + chunk(b'IEND', b'')


def flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :]


JPEG, PNG = encode(gradient(), 'JPEG'), encode(gradient(), 'PNG')


@pytest.mark.parametrize(
    ('data', 'reason'),
    [
        (b'', 'picture_not_decodable'),
        (b'<html>', 'picture_not_decodable'),
        (b'\xff\xd8\xff\xe0', 'picture_not_decodable'),
        (JPEG[:-50], 'picture_truncated'),
        (PNG[: len(PNG) // 2], 'picture_(truncated|not_decodable)'),
        (flipped(PNG, len(PNG) // 2), 'picture_not_decodable'),
        (encode(gradient(200, 15), 'PNG'), 'picture_too_small'),
        (bomb(60_000, 60_000), 'picture_too_large'),
        (bomb(1000, 1000), 'picture_(truncated|not_decodable)'),
    ],
    ids=['empty', 'html', 'header', 'short-jpeg', 'half-png', 'flipped', 'small', 'bomb', 'short-data'],
)
def test_bad_ones(data: bytes, reason: str) -> None:
    with pytest.raises(BadPicture, match=reason):
        prepare(data, SETTINGS)


def test_every_truncation_is_a_reason_not_an_exception() -> None:
    for whole in (JPEG, PNG, encode(gradient(), 'WEBP'), encode(gradient(), 'GIF'), encode(gradient(), 'TIFF')):
        for size in range(0, len(whole) - 2, max(1, len(whole) // 40)):
            try:
                pixels(prepare(whole[:size], SETTINGS))
            except BadPicture:
                pass


def test_limits_are_settings() -> None:
    with pytest.raises(BadPicture, match='picture_too_large'):
        prepare(JPEG, Settings(max_pixels=4000))
    assert prepare(JPEG, Settings(max_pixels=4800)) == JPEG
    with pytest.raises(BadPicture, match='picture_too_small'):
        prepare(JPEG, Settings(min_side=61))
