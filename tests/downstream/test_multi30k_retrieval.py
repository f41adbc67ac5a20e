"""Zero-shot retrieval from the command line to result.json, with a real model on the sample."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from downstream.cli import run
from downstream.embed import embed_split
from pretrain.evaluation.multi30k import read_split
from pretrain.evaluation.retrieval import image_to_text, text_to_image
from pretrain.model.load import embed_texts, load_model
from shards.errors import UserError
from tests.support.exported import embed_images

DATA = Path(__file__).parents[2] / 'sample' / 'evaluation' / 'multi30k_emoji'


@pytest.fixture(scope='module')
def evaluated(export: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp('out')
    folders = ['--model', str(export), '--data', str(DATA), '--out', str(out)]
    assert run(['multi30k-retrieval', 'evaluate', *folders, '--languages', 'deu,en', 'zh']) == 0
    return out, json.loads((out / 'result.json').read_text(encoding='utf8'))


def test_result_holds_all_that_it_depends_on(export: Path, evaluated: tuple[Path, dict[str, Any]]) -> None:
    _, result = evaluated
    assert list(result['languages']) == ['de', 'en', 'zh']
    assert result['model']['sha256'] == load_model(export).sha256
    assert result['model']['config']['model']['dim'] == 16
    assert result['data']['sha256'] == read_split(DATA, languages=['de', 'en', 'zh']).sha256()
    assert result['data']['pictures'] == 37
    assert result['mean_paper']['languages'] == ['en', 'de']
    assert result['languages']['zh']['chance']['text_to_image']['R@10'] == pytest.approx(10 / 37)
    recalls = result['languages']['de']
    assert recalls['mR'] == pytest.approx(np.mean([*recalls['text_to_image'].values(), *recalls['image_to_text'].values()]))


def test_saved_embeddings_give_the_result(evaluated: tuple[Path, dict[str, Any]]) -> None:
    out, result = evaluated
    images, texts = (np.load(out / name, allow_pickle=False) for name in ('images.npy', 'texts.de.npy'))
    assert images.shape == (37, 8)
    assert images.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(images, axis=1), 1, rtol=1e-5)
    rows = np.arange(37)
    assert text_to_image(texts, images, rows) == result['languages']['de']['text_to_image']
    assert image_to_text(images, texts, rows) == result['languages']['de']['image_to_text']
    files = ['images.npy', 'inputs.json', 'result.json', *(f'texts.{language}.npy' for language in ('de', 'en', 'zh'))]
    assert sorted(path.name for path in out.iterdir()) == files


def test_rows_are_those_of_single_inputs(export: Path, evaluated: tuple[Path, dict[str, Any]]) -> None:
    out, _ = evaluated
    loaded, split = load_model(export), read_split(DATA, languages=['de'])
    images, texts = (np.load(out / name, allow_pickle=False) for name in ('images.npy', 'texts.de.npy'))
    for row in (0, 17, 36):
        np.testing.assert_allclose(embed_images(loaded, [split.picture(row)]).numpy()[0], images[row], atol=1e-5)
        np.testing.assert_allclose(embed_texts(loaded, [split.captions['de'].texts[row]], 'de').numpy()[0], texts[row], atol=1e-5)


def test_equal_inputs_have_equal_embeddings(export: Path, tmp_path: Path) -> None:
    data = tmp_path / 'data'
    shutil.copytree(DATA, data)
    split = read_split(data, languages=['en'])
    split.paths[30].write_bytes(split.picture(2))
    split.captions['en'].texts[9] = split.captions['en'].texts[20]
    embeddings = embed_split(load_model(export), split)
    assert (embeddings.images[30] == embeddings.images[2]).all()
    assert (embeddings.texts['en'][9] == embeddings.texts['en'][20]).all()
    assert len(embeddings.images) == len(embeddings.texts['en']) == 37


def test_broken_picture_is_named(export: Path, tmp_path: Path) -> None:
    data = tmp_path / 'data'
    shutil.copytree(DATA, data)
    broken = read_split(data).paths[5]
    broken.write_bytes(b'no picture')
    with pytest.raises(UserError, match=rf'{broken.name} cannot be decoded'):
        run(['multi30k-retrieval', 'evaluate', '--model', str(export), '--data', str(data), '--out', str(tmp_path / 'out')])
    assert not (tmp_path / 'out').exists()


def test_diverged_model_is_no_result(export: Path) -> None:
    loaded = load_model(export)
    next(loaded.model.parameters()).data.fill_(float('nan'))
    with pytest.raises(UserError, match='not finite: the model has diverged'):
        embed_split(loaded, read_split(DATA, languages=['en']))


def test_other_folder_of_pictures_and_default_out(export: Path, tmp_path: Path) -> None:
    model, data = tmp_path / 'model', tmp_path / 'multi30k'
    shutil.copytree(export, model)
    shutil.copytree(DATA, data)
    (data / 'images').rename(tmp_path / 'flickr30k-images')
    arguments = ['multi30k-retrieval', 'evaluate', '--model', str(model), '--data', str(data), '--languages', 'cs']
    with pytest.raises(UserError, match='--images'):
        run(arguments)
    run([*arguments, '--images', str(tmp_path / 'flickr30k-images')])
    assert (model / 'downstream/multi30k-retrieval/multi30k-test_2016_flickr/result.json').is_file()


def test_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(UserError, match='neither a run'):
        run(['multi30k-retrieval', 'evaluate', '--model', str(tmp_path), '--data', str(DATA)])
