"""What sample/ must be: nothing that is evaluated on is among what is trained on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from data_pipeline.cli import main

SAMPLE = Path(__file__).parents[1] / 'sample'


@pytest.mark.parametrize('corpus', ['cc3m', 'cc12m', 'wit'])
def test_no_picture_is_evaluated_on_and_trained_on(corpus: str, tmp_path: Path) -> None:
    """Not even resized or compressed again. Captions may be the same in multi30k_seen, whose concepts are known, not in multi30k_emoji."""
    pictures = list((SAMPLE / 'evaluation').rglob('*.jpg'))
    for number, path in enumerate(pictures):
        shutil.copy(path, tmp_path / f'{number}.jpg')
    assert found(corpus, tmp_path, tmp_path / 'out') == {(len(pictures), 0)}
    unseen = found(corpus, SAMPLE / 'evaluation/multi30k_emoji/data', tmp_path / 'again')
    assert unseen and all(number for number, _ in unseen) and not any(met for _, met in unseen)


def test_a_trained_picture_would_be_found(tmp_path: Path) -> None:
    picture = sorted((SAMPLE / 'raw/cc12m/images_files').rglob('*.jpg'))[0]
    (tmp_path / 'evaluation').mkdir()
    shutil.copy(picture, tmp_path / 'evaluation')
    assert found('cc12m', tmp_path / 'evaluation', tmp_path / 'out') == {(1, 1)}


def found(corpus: str, evaluation: Path, out: Path) -> set[tuple[int, int]]:
    """(texts or pictures, those of them met in the corpus) of each file or folder of an evaluation set."""
    folders = ['--raw', str(SAMPLE / 'raw' / corpus), '--out', str(out), '--decontaminate', str(evaluation)]
    assert main(['build', corpus, *folders, '--holdout', '0']) == 0
    report = json.loads((out / corpus / 'decontamination.json').read_text())
    return {(entry.get('texts', 0) + entry.get('pictures', 0), entry['found']) for entry in report.values()}
