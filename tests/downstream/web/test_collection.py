"""What the page searches: which files and texts, and which of them are near."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from downstream.api import Model, load
from downstream.web.collection import embed_pictures, embed_texts, find_texts, nearest
from downstream.web.pictures import find_pictures
from pretrain.config import Config
from shards.errors import UserError
from tests.support.exported import SAMPLE

SEEN = SAMPLE / 'multi30k_seen' / 'images'


@pytest.fixture(scope='module')
def model(writer: Path) -> Model:
    return load(writer)


def test_pictures_that_are_none_are_left_out_and_said(model: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / 'below').mkdir()
    for number, path in enumerate(sorted(SEEN.iterdir())[:70]):  # more than one call
        (tmp_path / 'below' / f'{number:03d}.JPG').write_bytes(path.read_bytes())
    (tmp_path / 'below' / '005.JPG').write_bytes(b'no picture')
    (tmp_path / 'notes.txt').write_text('none either')
    paths = find_pictures(tmp_path)
    assert [path.name for path in paths] == [f'{number:03d}.JPG' for number in range(70)]
    found = embed_pictures(model, paths)
    assert found.paths == [*paths[:5], *paths[6:]]
    np.testing.assert_allclose(found.vectors, np.concatenate([model.embed_images([path]) for path in found.paths]), rtol=0, atol=1e-6)
    said = capsys.readouterr().err
    assert 'left out 1 of 70: picture ' in said and '005.JPG cannot be decoded' in said and '70/70' in said
    with pytest.raises(UserError, match='none of 1 pictures can be decoded'):
        embed_pictures(model, paths[5:6])
    (tmp_path / 'empty').mkdir()
    with pytest.raises(UserError, match='has no picture; --images'):
        find_pictures(tmp_path / 'empty')
    with pytest.raises(UserError, match='is no folder; --images'):
        find_pictures(tmp_path / 'nowhere')
    assert {path.parent.parent.name for path in find_pictures(None)} == {'multi30k_emoji', 'multi30k_seen'}


def test_texts(model: Model, tmp_path: Path) -> None:
    file = tmp_path / 'texts.txt'
    file.write_text('a red apple\nde_DE\tein roter Apfel\n\na red apple\nde\tzwei Hunde\n', encoding='utf8')
    rows = find_texts(file, model.loaded.config)
    assert rows == [('en', 'a red apple'), ('de', 'ein roter Apfel'), ('de', 'zwei Hunde')]
    found = embed_texts(model, rows)
    assert found.languages == ['de', 'en']
    for (language, text), vector in zip(rows, found.vectors, strict=True):
        np.testing.assert_allclose(vector, model.embed_texts([text], language)[0], rtol=0, atol=1e-6)
    file.write_text('a\nklingon\tqapla\n')
    with pytest.raises(UserError, match=r'texts\.txt:2: unknown language code'):
        find_texts(file, model.loaded.config)
    file.write_text('\n')
    with pytest.raises(UserError, match='has no text'):
        find_texts(file, model.loaded.config)
    with pytest.raises(UserError, match=r'gone cannot be read \(No such file'):
        find_texts(tmp_path / 'gone', model.loaded.config)


def test_texts_by_default_are_the_captions_of_the_runs_own_set() -> None:
    def texts(**retrieval: object) -> list[tuple[str, str]]:
        return find_texts(None, Config.model_validate({'eval': {'retrieval': retrieval}}))

    own = texts(data=str(SAMPLE / 'multi30k_emoji'), languages=['uk', 'cs'])
    assert {language for language, _ in own} == {'uk', 'cs'} and len(own) == len(set(own)) > 60
    assert {language for language, _ in texts(data='nowhere')} == {language for language, _ in texts(data=None)} > {'de', 'en', 'zh'}


def test_nearest_is_by_cosine_and_stable() -> None:
    vectors = np.array([[1, 0], [0, 1], [0.6, 0.8], [1, 0]], np.float32)
    found = nearest(np.array([1, 0], np.float32), vectors, 3)
    assert [row for row, _ in found] == [0, 3, 2] and [cosine for _, cosine in found] == pytest.approx([1, 1, 0.6])
