"""Texts for many examples are those that each gets alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from downstream import generate as generation
from downstream.generate import Example, generate
from pretrain.data.batch import Texts
from pretrain.data.images import read_picture
from pretrain.data.sequences import encoder_input
from pretrain.evaluation.multi30k import read_split
from pretrain.generation import Decoding, write
from pretrain.model.load import Loaded, load_model
from shards.errors import UserError

DATA = Path(__file__).parents[2] / 'sample' / 'evaluation' / 'multi30k_emoji'
DECODING = Decoding(beams=4, max_tokens=12)


@pytest.fixture(scope='module')
def loaded(writer: Path) -> Loaded:
    return load_model(writer)


def examples() -> list[Example]:
    """Translations with a picture and without, and captions, in a mixed order."""
    split = read_split(DATA, languages=['en', 'de'])
    found = []
    for row, path in enumerate(split.paths[:15]):
        text = None if row % 3 == 2 else split.captions['en'].texts[row]
        found.append(Example(text, 'en' if text else 'zh', ('de', 'fr', 'zh')[row % 3], path if row % 2 or not text else None))
    return found


def alone(loaded: Loaded, example: Example) -> str:
    """The text of one example, by the model's own call."""
    tokenizer = loaded.tokenizer
    if example.text is None:
        row = [tokenizer.bos, tokenizer.eos, tokenizer.language(example.language)]
    else:
        row = encoder_input(tokenizer.encode(example.text), tokenizer, example.language, 64)
    texts = Texts(torch.tensor(row), torch.tensor([len(row)]))
    images = read_picture(example.picture, 32)[None] if example.picture is not None else None
    return write(loaded.model, tokenizer, texts, [example.target], images, torch.tensor([0]), DECODING)[0]


@pytest.mark.parametrize('batch', [4, 32])
def test_each_text_is_its_examples_own(loaded: Loaded, batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generation, 'BATCH', batch)
    expected = [alone(loaded, example) for example in examples()]
    assert generate(loaded, examples(), DECODING, 'test') == expected
    assert len(set(expected)) > 8, 'texts that are all alike prove little'


def test_pictures_matter(loaded: Loaded) -> None:
    with_pictures = [Example(None, 'de', 'de', path) for path in read_split(DATA).paths[:8]]
    assert len(set(generate(loaded, with_pictures, DECODING, 'test'))) > 1
    without = [Example(None, 'de', 'de') for _ in with_pictures]
    assert len(set(generate(loaded, without, DECODING, 'test'))) == 1


def test_no_examples(loaded: Loaded) -> None:
    assert generate(loaded, [], DECODING, 'test') == []


def test_mistakes(loaded: Loaded, tmp_path: Path) -> None:
    (tmp_path / 'broken.jpg').write_bytes(b'no picture')
    with pytest.raises(UserError, match=r'broken\.jpg cannot be decoded'):
        generate(loaded, [Example(None, 'de', 'de', tmp_path / 'broken.jpg')], DECODING, 'test')
    with pytest.raises(UserError, match=r'gone\.jpg cannot be read'):
        generate(loaded, [Example(None, 'de', 'de', tmp_path / 'gone.jpg')], DECODING, 'test')
    with pytest.raises(UserError, match='klingon'):
        generate(loaded, [Example('a', 'en', 'klingon')], DECODING, 'test')
