"""Results as the evaluation writes them, of a test set of the size of Multi30k's: with task 2's captions and without."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import pytest

from downstream.cli import run
from downstream.pages.collect import collect
from downstream.pages.tables import paper_grids
from pretrain.evaluation.multi30k import TASK2_CAPTIONS, read_split

SAMPLE = Path(__file__).parents[3] / 'sample/evaluation/multi30k_emoji'
COUNT = 1000
SPLIT = 'test_2016_flickr'


def write_captions(path: Path, texts: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(''.join(f'{text}\n' for text in texts).encode()))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The sample's pictures and captions, over and over: equal ones are embedded once."""
    root = tmp_path / 'multi30k'
    small = read_split(SAMPLE, languages=['en', 'de', 'fr', 'cs'])
    (root / 'images').mkdir(parents=True)
    names = [f'{number}.jpg' for number in range(COUNT)]
    for number, name in enumerate(names):
        shutil.copy(small.paths[number % len(small.paths)], root / 'images' / name)
    lists = root / f'data/task1/image_splits/{SPLIT}.txt'
    lists.parent.mkdir(parents=True)
    lists.write_text('\n'.join(names) + '\n')
    for language, captions in small.captions.items():
        texts = [captions.texts[number % len(captions.texts)] for number in range(COUNT)]
        write_captions(root / f'data/task1/raw/{SPLIT}.{language}.gz', texts)
        for number in range(1, TASK2_CAPTIONS + 1) if language in ('en', 'de') else ():
            write_captions(root / f'data/task2/raw/test_2016.{number}.{language}.gz', texts)
    return root


def test_without_task_2_it_is_another_test_set(export: Path, data: Path, tmp_path: Path) -> None:
    run(['multi30k-retrieval', 'evaluate', '--model', str(export), '--data', str(data), '--out', str(tmp_path / 'with')])
    shutil.rmtree(data / 'data/task2')
    run(['multi30k-retrieval', 'evaluate', '--model', str(export), '--data', str(data), '--out', str(tmp_path / 'without')])
    table1 = paper_grids(collect([str(tmp_path / 'with'), str(tmp_path / 'without')]))[0]
    figures = {row.name: row.cells[4] for row in table1.rows if row.ours}
    assert float(figures['with']) > 0 and figures['without'].endswith('§')
    assert float(figures['without'].removesuffix('§')) > 0
