"""The demo's picture: pure parts, and a real PNG from the sample's pictures."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from downstream.files import write_array
from downstream.quickstart import figure
from pretrain.evaluation.multi30k import Split, read_split

DATA = Path(__file__).parents[3] / 'sample' / 'evaluation' / 'multi30k_seen'
TASKS = ('cmcl', 'clcl', 'itm', 'mlm', 'plm', 'vplm', 'mt', 'mmmt')


@pytest.fixture(scope='module')
def split() -> Split:
    return read_split(DATA)


@pytest.fixture(scope='module')
def embeddings(split: Split, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('embeddings')
    images = np.eye(len(split.names), dtype=np.float32)
    write_array(folder / 'images.npy', images)
    for language, captions in split.captions.items():
        write_array(folder / f'texts.{language}.npy', images[captions.rows])
    return folder


def test_ranks() -> None:
    images = np.eye(6, dtype=np.float32)
    captions = np.array([[0.1, 0.6, 0.5, 0.4, 0.3, 0.2], [0.5, 0.5, 0, 0, 0, 0]], np.float32)
    assert figure.ranks_of(captions, np.array([2, 0]), images).tolist() == [2, 1]
    assert figure.ranks_of(captions, np.array([0, 1]), images).tolist() == [6, 2]


def test_queries_are_of_several_languages_that_can_be_drawn(split: Split, embeddings: Path) -> None:
    queries = figure.choose(split, embeddings)
    assert len({query.language for query in queries}) == len(queries) == figure.QUERIES
    assert {'en', 'de', 'fr', 'cs', 'ru'} <= {query.language for query in queries}
    assert len({query.right for query in queries}) > 6
    assert all(query.rank == 1 and query.top[0] == query.right and figure.font_of(query.text) for query in queries)


def test_queries_go_from_the_best_to_the_worst(split: Split, embeddings: Path, tmp_path: Path) -> None:
    """Of a model that is right for a quarter of the captions a quarter of the rows are hits, whichever captions those are."""
    generator = np.random.default_rng(0)
    images = np.load(embeddings / 'images.npy')
    write_array(tmp_path / 'images.npy', images)
    for language, captions in split.captions.items():
        right = images[captions.rows]
        wrong = generator.permutation(len(right))[len(right) // 4 :]
        right[wrong] = generator.normal(size=(len(wrong), images.shape[1]))
        write_array(tmp_path / f'texts.{language}.npy', right.astype(np.float32))
    queries = figure.choose(split, tmp_path)
    ranks = [query.rank for query in queries]
    assert ranks[0] == 1 and ranks == sorted(ranks) and sum(rank == 1 for rank in ranks) == 2
    last = queries[-1]
    vectors, rows = np.load(tmp_path / f'texts.{last.language}.npy'), np.array(split.captions[last.language].rows)
    assert last.rank == figure.ranks_of(vectors, rows, images).max() and last.better == 1.0
    assert all((query.right in query.top) == (query.rank <= figure.TOP) for query in queries)
    assert figure.choose(split, tmp_path) == queries


def test_no_font_is_better_than_boxes() -> None:
    assert figure.font_of('Straße') is not None
    assert figure.font_of('\U000e0041\U0010fffd') is None
    for text in ('望遠鏡', 'தமிழ்', 'ગુજરાતી'):  # drawn where a font is installed, and never with the font of boxes
        font = figure.font_of(text)
        assert font is None or 'LastResort' not in str(font.get_file())


def test_text_is_wrapped() -> None:
    assert figure.wrapped('a short one') == 'a short one'
    assert figure.wrapped('one two three four', 9) == 'one two\nthree\nfour'
    assert figure.wrapped('x' * 30, 10, 2) == 'x' * 10 + '\n' + 'x' * 10 + '…'


def test_smoothing() -> None:
    assert figure.smooth([4.0, 2.0]) == [4.0, 2.0]
    smoothed = figure.smooth([float(number % 2) for number in range(100)])
    assert len(smoothed) == 100
    assert max(smoothed[10:]) == pytest.approx(0.6)
    assert figure.points([(1, 0.5), (2, None)]) == ([1], [0.5])


@pytest.mark.parametrize('count', [8, 0])
def test_picture(split: Split, embeddings: Path, tmp_path: Path, count: int) -> None:
    metrics: list[dict[str, Any]] = [{'step': step, 'loss': {task: math.exp(-step / 9) for task in TASKS}} for step in range(1, 31)]
    del metrics[3]['loss']['mt']
    report = {task: {'mean': 1.0, 'languages': {}} for task in TASKS}
    evaluations = [{'step': 0, 'heldout': {**report, 'mt': {'mean': None, 'languages': {}}}}, {'step': 30, 'heldout': report}]
    figure.draw(tmp_path / 'demo.png', metrics, evaluations, split, figure.choose(split, embeddings, count) if count else [])
    with Image.open(tmp_path / 'demo.png') as picture:
        assert picture.format == 'PNG'
        assert picture.width == 1300
        pixels = np.asarray(picture.convert('RGB')).reshape(-1, 3)
    green = int((pixels == (0x1A, 0x96, 0x41)).all(1).sum())
    assert (green > 1000) == bool(count)  # the frames of the right pictures
    assert [path.name for path in tmp_path.iterdir()] == ['demo.png']
