from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pretrain.config import Data
from pretrain.data.images import evaluation_image, training_image
from pretrain.data.rng import generator
from tests.pretrain.data.small_shards import RAW


def encoded(image: Image.Image, format: str = 'PNG') -> bytes:
    file = io.BytesIO()
    image.save(file, format)
    return file.getvalue()


@pytest.fixture
def jpeg() -> bytes:
    return sorted((RAW / 'cc12m' / 'images_files' / '00000').glob('*.jpg'))[0].read_bytes()


def test_evaluation_takes_the_centred_square() -> None:
    pixels = np.zeros((20, 60, 3), np.uint8)
    pixels[:, 20:40] = (255, 128, 0)
    image = evaluation_image(encoded(Image.fromarray(pixels)), 10)
    assert image.shape == (3, 10, 10) and image.dtype == torch.uint8
    assert image[:, :, 1:9].float().mean((1, 2)).tolist() == [255, 128, 0], 'the filter reaches one pixel over the edge'


def test_evaluation_at_the_own_size_changes_nothing(jpeg: bytes) -> None:
    opened = Image.open(io.BytesIO(jpeg))
    np.testing.assert_array_equal(evaluation_image(jpeg, opened.width).permute(1, 2, 0), np.asarray(opened.convert('RGB')))


@pytest.mark.parametrize('mode', ['RGBA', 'LA', 'P', 'L', 'CMYK', '1'])
def test_every_mode_becomes_rgb_and_transparency_white(mode: str) -> None:
    image = Image.new(mode, (8, 8))
    if mode == 'P':
        image.info['transparency'] = 0
    format = 'JPEG' if mode == 'CMYK' else 'PNG'
    tensor = evaluation_image(encoded(image, format), 8)
    expected = {'RGBA': 255, 'LA': 255, 'P': 255, 'L': 0, '1': 0, 'CMYK': 255}[mode]
    assert tensor.shape == (3, 8, 8) and (tensor == expected).all()


def test_training_pictures_follow_the_generator(jpeg: bytes) -> None:
    options = Data(augment_min_scale=0.6, augment_flip=0.5, augment_colour=0.3)
    images = [training_image(jpeg, 32, options, generator(0, 'cmcl', i)) for i in range(8)]
    assert len({image.numpy().tobytes() for image in images}) == 8
    again = training_image(jpeg, 32, options, generator(0, 'cmcl', 3))
    assert torch.equal(again, images[3]) and again.shape == (3, 32, 32)


def test_without_augmentation_training_sees_what_evaluation_sees(jpeg: bytes) -> None:
    assert torch.equal(training_image(jpeg, 32, Data(augment_min_scale=1), generator(0, 'cmcl', 0)), evaluation_image(jpeg, 32))


def test_crops_keep_the_share_and_reach_the_edges() -> None:
    """A ramp from left to right: a crop's extent is the range of its values."""
    ramp = np.repeat(np.tile(np.arange(200, dtype=np.uint8), (100, 1))[..., None], 3, 2)
    raw, options = encoded(Image.fromarray(ramp)), Data(augment_min_scale=0.5)
    crops = [training_image(raw, 50, options, generator(0, 'cmcl', i))[0] for i in range(300)]
    widths = [int(crop.max()) - int(crop.min()) for crop in crops]
    assert 60 < min(widths) < 75 and 95 < max(widths) < 106
    assert min(int(crop.min()) for crop in crops) < 5 and max(int(crop.max()) for crop in crops) > 194


def test_a_crops_sides_differ_by_the_share_asked() -> None:
    """A square whose colours tell both places: red from left to right, green from the top."""
    place = np.arange(200, dtype=np.uint8)
    ramp = np.stack([np.tile(place, (200, 1)), np.tile(place[:, None], (1, 200)), np.zeros((200, 200), np.uint8)], 2)
    raw = encoded(Image.fromarray(ramp))
    for share in (0.0, 0.1, 0.5):
        options = Data(augment_min_scale=0.3, augment_aspect=share)
        crops = [training_image(raw, 50, options, generator(0, 'cmcl', i)).float() for i in range(200)]
        ratios = [(float(crop[0].max() - crop[0].min()) / float(crop[1].max() - crop[1].min())) for crop in crops]
        assert max(ratios) == pytest.approx(math.exp(share), rel=0.05) and min(ratios) == pytest.approx(math.exp(-share), rel=0.05)


def test_flip_and_colour() -> None:
    pixels = np.full((8, 8, 3), 100, np.uint8)
    pixels[:, :4] = 50
    raw = encoded(Image.fromarray(pixels))
    flipped = training_image(raw, 8, Data(augment_min_scale=1, augment_flip=1.0), generator(0, 'cmcl', 0))
    assert flipped[0, 0, 0] == 100 and flipped[0, 0, 7] == 50
    options = Data(augment_min_scale=1, augment_colour=0.2)
    coloured = torch.stack([training_image(raw, 8, options, generator(0, 'cmcl', i)) for i in range(200)])
    values = coloured[:, :, 0, 7].float()
    assert 65 < values.min() < 90 and 110 < values.max() < 135
    assert (values[:, 0] != values[:, 1]).any(), 'channels have gains of their own'


@pytest.mark.parametrize('damage', ['empty', 'text', 'truncated'])
def test_what_is_no_picture_is_an_error(jpeg: bytes, damage: str, tmp_path: Path) -> None:
    raw = {'empty': b'', 'text': b'<html>not found</html>', 'truncated': jpeg[: len(jpeg) // 2]}[damage]
    with pytest.raises(OSError):
        evaluation_image(raw, 32)
    with pytest.raises(OSError):
        training_image(raw, 32, Data(), generator(0, 'cmcl', 0))
