"""Large pictures in strips: the same as taken whole, and in little memory."""

from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from data_pipeline.pictures import BadPicture, prepare
from data_pipeline.settings import Settings
from data_pipeline.strips import shrunk
from shards.pictures import plain, upright
from tests.data_pipeline.conftest import SAMPLE

SIDE = 4000  # of a picture that takes 61 MiB decoded
PREPARE = """
import sys
from pathlib import Path
from data_pipeline.pictures import prepare
from data_pipeline.settings import Settings

def peak():
    return next(int(line.split()[1]) for line in Path('/proc/self/status').read_text().splitlines() if line.startswith('VmHWM')) / 1024

data, before = sys.stdin.buffer.read(), peak()
prepare(data, Settings())
print(peak() - before)
"""


def noise(mode: str, width: int, height: int) -> Image.Image:
    pixels = np.random.Generator(np.random.PCG64(width + height)).integers(0, 256, (height, width, 4), np.uint8)
    if mode == 'I;16':
        return Image.fromarray(pixels.view(np.uint16)[..., 0].copy())
    image = Image.fromarray(pixels)
    if mode != 'P':
        return image.convert(mode)
    palette = image.convert('RGB').quantize(100)
    palette.info['transparency'] = bytes(range(0, 200, 2))
    return palette


@pytest.mark.parametrize('mode', ['RGB', 'RGBA', 'L', 'LA', 'P', 'CMYK', 'I;16', '1'])
@pytest.mark.parametrize('strip', [1, 3000])
def test_strips_make_no_difference(mode: str, strip: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('data_pipeline.strips._STRIP', strip)
    for size in ((301, 173), (7, 901), (450, 2)):
        image = noise(mode, *size)
        for turning in range(1, 9):
            for side in (30, 100, 1000):
                expected = plain(upright(image.copy(), turning)).copy()
                expected.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
                found = shrunk(image.copy(), turning, side)
                assert (found.mode, found.size) == (expected.mode, expected.size)
                assert found.tobytes() == expected.tobytes()


def test_a_comment_is_kept_however_large_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.BytesIO()
    noise('L', 700, 600).save(file, 'GIF', comment=b'by its owner')
    whole = prepare(file.getvalue(), Settings())
    monkeypatch.setattr('data_pipeline.strips._STRIP', 1000)
    assert b'by its owner' in whole and prepare(file.getvalue(), Settings()) == whole


def encoded(kind: str) -> bytes:
    ramp = np.add.outer(np.arange(SIDE) // 16, np.arange(SIDE) // 16).astype(np.uint8)
    file, options = io.BytesIO(), {'compress_level': 1}
    match kind:
        case 'RGBA':
            image = Image.fromarray(np.dstack([ramp, ramp, ramp, 255 - ramp]))
        case 'palette':
            image = Image.fromarray(ramp)
            image = image.convert('P')
            options['transparency'] = 3
        case _:
            image = Image.fromarray(ramp.astype(np.uint16) * 256)
    image.save(file, 'PNG', **options)
    return file.getvalue()


@pytest.mark.parametrize(('kind', 'size'), [('RGBA', 4), ('palette', 1), ('16 bits', 2)])
def test_a_picture_is_held_once(kind: str, size: int) -> None:
    """`size` bytes a pixel, and some strips: taken whole, an RGBA took four times as much as itself."""
    run = subprocess.run([sys.executable, '-c', PREPARE], input=encoded(kind), stdout=subprocess.PIPE, check=True, cwd=SAMPLE.parent)
    assert float(run.stdout) < size * SIDE * SIDE / 2**20 + 75


def test_a_webp_may_have_half_of_the_area() -> None:
    file = io.BytesIO()
    noise('RGB', 80, 60).save(file, 'WEBP')
    assert prepare(file.getvalue(), Settings(max_pixels=9600)) == file.getvalue()
    with pytest.raises(BadPicture, match='picture_too_large'):
        prepare(file.getvalue(), Settings(max_pixels=9599))
