"""Ranking of any benchmark: folds of 1,000 pictures, uneven numbers of captions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from downstream.coco import first_captions, fold, ranking
from downstream.embed import Embeddings
from pretrain.evaluation.multi30k import Captions, Split
from pretrain.evaluation.retrieval import chance, image_to_text, text_to_image


def made(pictures: int, seed: int = 0) -> tuple[Split, Embeddings]:
    """Pictures with one to three captions in mixed order, and embeddings that match them somewhat."""
    generator = np.random.default_rng(seed)
    rows = np.repeat(np.arange(pictures), generator.integers(1, 4, pictures))
    generator.shuffle(rows)
    images = generator.normal(size=(pictures, 8)).astype(np.float32)
    texts = (images[rows] + 0.8 * generator.normal(size=(len(rows), 8))).astype(np.float32)
    names = [f'{picture}.jpg' for picture in range(pictures)]
    captions = Captions('en', [f'text {place}' for place in range(len(rows))], rows.tolist(), [])
    return Split(Path(), 'test', names, [Path(name) for name in names], {'en': captions}), Embeddings(images, {'en': texts})


def test_one_thousand_is_the_mean_over_whole_folds() -> None:
    split, embeddings = made(2500)
    found = ranking(split, embeddings, 'en')
    assert found['folds'] == 2
    rows, texts = np.array(split.captions['en'].rows), embeddings.texts['en']
    forth, back = [], []
    for start in (0, 1000):
        inside = (rows >= start) & (rows < start + 1000)
        images = embeddings.images[start : start + 1000]
        forth.append(text_to_image(texts[inside], images, rows[inside] - start)['R@5'])
        back.append(image_to_text(images, texts[inside], rows[inside] - start)['R@1'])
    assert found['1k']['text_to_image']['R@5'] == pytest.approx(np.mean(forth))
    assert found['1k']['image_to_text']['R@1'] == pytest.approx(np.mean(back))
    assert found['all']['text_to_image']['R@5'] < found['1k']['text_to_image']['R@5'] < 1
    assert found['all']['pictures'] == 2500
    assert found['all']['chance']['image_to_text'] == chance(np.bincount(rows))[1]


def test_fewer_pictures_have_no_fold() -> None:
    found = ranking(*made(999), 'en')
    assert found['1k'] is None and found['folds'] == 0
    assert ranking(*made(1000), 'en')['1k']['mR'] == pytest.approx(ranking(*made(1000), 'en')['all']['mR'])


def test_fold_keeps_captions_and_embeddings_together() -> None:
    split, embeddings = made(1500)
    part, own = fold(split, embeddings, 500)
    assert part.names[0] == '500.jpg' and len(part.names) == 1000
    for place in (0, 7, 100):
        whole = split.captions['en'].texts.index(part.captions['en'].texts[place])
        assert split.captions['en'].rows[whole] == part.captions['en'].rows[place] + 500
        assert (own.texts['en'][place] == embeddings.texts['en'][whole]).all()


def test_first_captions() -> None:
    split, _ = made(50)
    kept = first_captions(split, 2).captions['en']
    for picture in range(50):
        own = [text for text, row in zip(split.captions['en'].texts, split.captions['en'].rows, strict=True) if row == picture]
        assert [text for text, row in zip(kept.texts, kept.rows, strict=True) if row == picture] == own[:2]
