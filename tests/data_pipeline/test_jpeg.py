"""What passes without a decoder is what a decoder takes: whole files, and files damaged in every byte of their headers."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from PIL import Image

from data_pipeline.jpeg import plain_size
from data_pipeline.pictures import BadPicture, prepare
from data_pipeline.settings import Settings
from tests.data_pipeline.test_pictures import encode, gradient

KINDS: dict[str, dict[str, Any]] = {
    'colour': {}, 'fine': {'subsampling': 0, 'quality': 95}, 'optimised': {'optimize': True},
    'restarts': {'restart_marker_rows': 1}, 'tables': {'qtables': [[7] * 64, [9] * 64]},
}  # fmt: skip


def jpegs() -> dict[str, bytes]:
    found = {name: encode(gradient(), 'JPEG', **options) for name, options in KINDS.items()}
    return {**found, 'grey': encode(gradient().convert('L'), 'JPEG')}


def segments(data: bytes) -> list[tuple[int, int]]:
    """(marker, place of the segment's length) up to the scan, and where the scan's data begins."""
    found, place = [], 2
    while True:
        marker = data[place + 1]
        found.append((marker, place + 2))
        place += 2 + int.from_bytes(data[place + 2 : place + 4])
        if marker == 0xDA:
            return [*found, (0, place)]


def decodes(data: bytes) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            Image.open(io.BytesIO(data)).convert('RGB')
    except Exception:  # Pillow's parsers raise whatever they stumble over
        return False
    return True


@pytest.mark.parametrize('name', jpegs())
def test_what_encoders_write_passes(name: str) -> None:
    assert plain_size(jpegs()[name]) == (80, 60)


def test_others_are_left_to_a_decoder() -> None:
    assert plain_size(encode(gradient(), 'JPEG', progressive=True)) is None
    assert plain_size(encode(gradient().convert('CMYK'), 'JPEG')) is None
    whole = jpegs()['colour']
    assert plain_size(whole[:-40]) is None and plain_size(b'') is None and plain_size(whole[2:]) is None


@pytest.mark.parametrize('change', [lambda byte: byte ^ 0xFF, lambda byte: byte ^ 1, lambda byte: 0], ids=['inverted', 'one bit', 'zero'])
@pytest.mark.parametrize('name', ['colour', 'optimised', 'grey'])
def test_no_damaged_header_passes_that_a_decoder_refuses(name: str, change: Callable[[int], int]) -> None:
    """Every byte before the coded pixels, one after the other."""
    whole = jpegs()[name]
    refused = passed = 0
    for place in range(2, segments(whole)[-1][1]):
        data = bytearray(whole)
        data[place] = change(data[place])
        if plain_size(bytes(data)) is not None:
            passed += 1
            assert decodes(bytes(data)), place
        else:
            refused += 1
    assert passed > 20 and refused > 20


def test_a_missing_table_is_missed() -> None:
    whole = jpegs()['colour']
    for (marker, start), (_, end) in pairwise(segments(whole)):
        if marker in (0xC4, 0xDB):
            assert plain_size(whole[: start - 2] + whole[end - 2 if end != segments(whole)[-1][1] else end :]) is None, hex(marker)


def test_a_picture_with_a_broken_table_is_counted() -> None:
    data = bytearray(jpegs()['colour'])
    for marker, place in segments(bytes(data)):
        if marker == 0xC4:
            data[place + 3 : place + 19] = b'\xff' * 16
    assert not decodes(bytes(data))
    with pytest.raises(BadPicture, match='picture_not_decodable'):
        prepare(bytes(data), Settings())
