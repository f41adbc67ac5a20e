"""The small sets in the place of shared/evaluation are laid out as the programs look for them."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.parts.evaluations import IMAGES
from benchmarks.parts.stand_ins import write_evaluation
from downstream.classification import Classification
from downstream.data.labelled import Pictures
from downstream.xgqa import XGQA
from downstream.xvnli import XVNLI
from pretrain.evaluation.multi30k import read_split
from tests.support.launch import ROOT


def test_the_stand_ins_for_multi30k(tmp_path: Path) -> None:
    write_evaluation(tmp_path / 'evaluation')
    shared = {'coco', 'coco-cn', 'multi30k', 'multi30k_emoji', 'multi30k_seen', 'tatoeba', 'xgqa', 'xvnli'}
    assert {path.name for path in (tmp_path / 'evaluation').iterdir()} == shared
    split, whole = (read_split(folder) for folder in (tmp_path / 'evaluation/multi30k', ROOT / 'sample/evaluation/multi30k_seen'))
    assert len(split.paths) == 16 and {*split.captions} == {'en', 'de', 'fr', 'cs'}
    assert split.captions['cs'].texts == whole.captions['cs'].texts[:16]


@pytest.mark.parametrize('kind', [XVNLI, XGQA])
def test_the_stand_ins_have_the_pictures_where_results_looks_for_them(kind: type[Classification], tmp_path: Path) -> None:
    evaluation = tmp_path / 'evaluation'
    write_evaluation(evaluation)
    classes, train, dev = kind.read_training(evaluation / kind.name)
    tests = [rows for by_language in kind.read_tests(evaluation / kind.name, classes, None).values() for rows in by_language.values()]
    for rows in (train, dev, *tests):
        assert len(rows) > 0
        Pictures(evaluation / IMAGES[kind.name]).check(rows)  # else an error that names those that are missing
