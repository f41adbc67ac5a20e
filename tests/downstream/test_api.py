"""The Python API gives what the evaluations' own calls give; the examples of docs/export.md run as they stand."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from downstream.api import Model, load
from downstream.generate import Example, generate
from pretrain.evaluation.multi30k import read_split
from pretrain.export import export as write_export
from pretrain.generation import Decoding
from pretrain.hf.processing_unix2 import UniX2ImageProcessor
from pretrain.model.folder import BEST
from pretrain.model.load import embed_texts
from shards.errors import UserError
from tests.support.exported import embed_images

ROOT = Path(__file__).parents[2]
PICTURES = read_split(ROOT / 'sample' / 'evaluation' / 'multi30k_emoji').paths[:6]
DECODING = Decoding(beams=4, max_tokens=12)
TEXTS = ['a red apple', 'two dogs', 'a house', 'a red apple', 'the sea', 'x']


@pytest.fixture(scope='module')
def model(writer: Path) -> Model:
    return load(writer)


def test_it_is_shown_in_one_line(model: Model) -> None:
    """In a notebook, where the layers of a network would fill the screen."""
    assert '\n' not in repr(model) and str(model.found.where) in repr(model)
    found = replace(model.found, where=Path('runs/export'), step=1640, languages=tuple('jihgfedcba'))
    size = f'{sum(parameter.numel() for parameter in model.loaded.model.parameters()):,} parameters'
    assert repr(replace(model, found=found)) == f'Model(runs/export, step 1,640, {size}, 10 languages (a b c d e f g h …))'
    codes = f'{len(model.loaded.tokenizer.languages)} language codes'
    assert repr(replace(model, found=replace(found, step=None, languages=()))) == f'Model(runs/export, {size}, {codes})'


def test_embeddings(model: Model) -> None:
    images, texts = model.embed_images(PICTURES), model.embed_texts(TEXTS, 'eng')
    raw = [path.read_bytes() for path in PICTURES]
    np.testing.assert_allclose(images, embed_images(model.loaded, raw), rtol=0, atol=1e-6)
    np.testing.assert_allclose(texts, embed_texts(model.loaded, TEXTS, 'en'), rtol=0, atol=1e-6)
    assert (texts[0] == texts[3]).all() and images.dtype == texts.dtype == np.float32
    assert (model.embed_images(raw) == images).all() and (model.embed_images([str(path) for path in PICTURES]) == images).all()
    assert model.embed_images([]).shape == model.embed_texts([], 'en').shape == (0, images.shape[1])


def test_a_decoded_picture_is_its_file(model: Model, tmp_path: Path) -> None:
    """Without loss, and transparent parts on white: as PNG."""
    picture = Image.open(PICTURES[0]).convert('RGBA')
    picture.putalpha(picture.convert('L'))
    picture.save(tmp_path / 'a.png')
    assert (model.embed_images([picture]) == model.embed_images([tmp_path / 'a.png'])).all()


def test_an_array_is_the_picture_that_it_holds(model: Model) -> None:
    pixels = [np.asarray(Image.open(path).convert('RGB')) for path in PICTURES[:2]]
    expected = model.embed_images([Image.fromarray(one) for one in pixels])
    assert (model.embed_images(pixels) == expected).all()
    batch = np.stack([pixels[0]] * 2)
    np.testing.assert_allclose(model.embed_images(batch), expected[[0, 0]], rtol=0, atol=1e-6)


@pytest.mark.parametrize('one', ['a.jpg', Path('a.jpg'), b'x', Image.new('RGB', (8, 8)), np.zeros((8, 8, 3), np.uint8)])
def test_one_picture_is_no_list(model: Model, one: Any) -> None:
    for call in (model.embed_images, lambda one: model.caption(one, 'de'), lambda one: model.translate(['a'], 'en', 'de', one)):
        with pytest.raises(UserError, match=r'given as pictures; give a list of them, of one picture too: \[picture\]'):
            call(one)


def test_no_picture_is_said(model: Model) -> None:
    for call in (model.embed_images, lambda pictures: model.caption(pictures, 'de')):
        with pytest.raises(UserError, match='picture 1 is None, which is no picture'):
            call([PICTURES[0], None])  # type: ignore[list-item]
    with pytest.raises(UserError, match=r'no picture is given: images=\[\]'):
        UniX2ImageProcessor(8)([])


def test_one_text_is_no_list(model: Model) -> None:
    for call in (lambda texts: model.embed_texts(texts, 'en'), lambda texts: model.translate(texts, 'en', 'de')):
        with pytest.raises(UserError, match=r"'a red apple' is one text; give a list of texts: \['a red apple'\]"):
            call('a red apple')
        with pytest.raises(UserError, match='text 1 is None, which is no string'):
            call(['a', None])


@pytest.mark.parametrize(
    ('picture', 'said'),
    [
        (np.zeros((3, 8, 8), np.uint8), r'uint8 \(3, 8, 8\) given as a picture; give one of uint8 \(height, width, 3\)'),
        (np.zeros((8, 8, 3)), r'float64 \(8, 8, 3\) given as a picture; give one of uint8'),
        (torch.zeros(3, 8, 8), "Tensor given as a picture; give a file's name, its bytes, a PIL image, or a numpy array"),
    ],
)
def test_what_is_no_picture_is_said(model: Model, picture: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        model.embed_images([picture])
    with pytest.raises(UserError, match=said):
        UniX2ImageProcessor(8)([picture])


def test_captions_and_translations(model: Model, capfd: pytest.CaptureFixture[str]) -> None:
    captions = model.caption(PICTURES, 'deu', DECODING)
    beside = model.translate(TEXTS, 'en', 'fr', PICTURES, DECODING)
    alone = model.translate(TEXTS, 'en', 'fr', decoding=DECODING)
    assert capfd.readouterr().err == '', 'a call in Python shows no progress bar'
    assert captions == generate(model.loaded, [Example(None, 'de', 'de', path) for path in PICTURES], DECODING, 'test')
    pairs = list(zip(TEXTS, PICTURES, strict=True))
    assert beside == generate(model.loaded, [Example(text, 'en', 'fr', path) for text, path in pairs], DECODING, 'test')
    assert alone == generate(model.loaded, [Example(text, 'en', 'fr') for text in TEXTS], DECODING, 'test')
    assert alone[0] == alone[3] and len(set(captions)) > 1 and len(set(alone)) > 1, 'texts that are all alike prove little'
    assert model.caption([], 'de') == model.translate([], 'en', 'de') == []


def test_mistakes(model: Model, tmp_path: Path) -> None:
    (tmp_path / 'a.jpg').write_bytes(b'no picture')
    with pytest.raises(UserError, match=r'a\.jpg cannot be decoded'):
        model.embed_images([tmp_path / 'a.jpg'])
    with pytest.raises(UserError, match=r'gone\.jpg cannot be read'):
        model.caption([str(tmp_path / 'gone.jpg')], 'de')
    good = (ROOT / PICTURES[0]).read_bytes()
    undecodable = Image.open(io.BytesIO(good[: len(good) // 2]))
    for bad, what in ((b'no picture', '10 bytes'), (undecodable, f'a PIL image of {undecodable.width}x{undecodable.height}')):
        for call in (model.embed_images, lambda pictures: model.caption(pictures, 'de')):
            with pytest.raises(UserError, match=f'picture 2: {what} given as a picture cannot be decoded') as raised:
                call([good, PICTURES[0], bad])
            assert ' at 0x' not in str(raised.value)
    with pytest.raises(UserError, match='klingon'):
        model.caption(PICTURES, 'klingon')
    with pytest.raises(UserError, match='1 pictures for 6 texts'):
        model.translate(TEXTS, 'en', 'de', PICTURES[:1])
    with pytest.raises(UserError, match='is neither a run'):
        load(tmp_path)


@pytest.mark.slow
def test_the_examples_of_the_docs(writer: Path, tmp_path: Path) -> None:
    shutil.copytree(writer, tmp_path / 'run' / BEST)
    write_export(tmp_path / 'run', tmp_path / 'runs' / 'demo' / 'export')
    (tmp_path / 'sample').symlink_to(ROOT / 'sample')
    blocks = re.findall(r'```python\n(.*?)```', (ROOT / 'docs' / 'export.md').read_text(encoding='utf8'), re.DOTALL)
    assert len(blocks) == 2
    (short,) = re.findall(r'```python\n(.*?)```', (ROOT / 'README.md').read_text(encoding='utf8'), re.DOTALL)
    assert set(short.splitlines()) <= set(blocks[1].splitlines()), 'the README shows a part of it'
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'HF_HOME': str(tmp_path / 'cache'), 'HF_HUB_OFFLINE': '1', 'OMP_NUM_THREADS': '1'}
    # Each in names of its own; in one process, since both import the same for seconds.
    script = "import sys\nfor block in sys.argv[1:]:\n    exec(block, {'__name__': '__main__'})\n    print('----')\n"
    done = subprocess.run(
        [sys.executable, '-c', script, *blocks], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=500
    )
    assert done.returncode == 0, done.stderr
    *printed, behind = done.stdout.split('----\n')
    assert done.stderr == behind == '' and len(printed) == len(blocks)
    assert all(len(text.splitlines()) >= 3 for text in printed), 'each prints what it found'
