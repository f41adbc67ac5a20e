from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import learning
from downstream.demo.steps import Steps
from pretrain.evaluation.multi30k import read_split
from tests.pretrain.conftest import home, pictures  # noqa: F401  (fixtures)
from tests.support.launch import ROOT, TINY


@pytest.fixture(scope='module')
def options(home: Path, tmp_path_factory: pytest.TempPathFactory) -> argparse.Namespace:  # noqa: F811
    out = tmp_path_factory.mktemp('learning')
    for name in ('tokenizer', 'shards'):
        (out / name).symlink_to(home / name)
    return argparse.Namespace(
        raw=ROOT / 'sample/raw', evaluation=ROOT / 'sample/evaluation', out=out, minutes=0.02, contenders=['open_clip', 'mural'],
        seed=0, batch=128, probe=3, set=[*TINY, 'log.tensorboard=false'],
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.launcher
def test_contenders_train_for_the_time_and_are_ranked(options: argparse.Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    record = Steps(options.out)
    found = {name: learning.contend(record, name, options) for name in options.contenders}
    for told in found.values():
        assert told['steps'] > 0 and told['samples'] > told['steps']
    assert found['open_clip']['seconds'] >= 1.2, 'it stops at the first step after its time'
    recall = learning.recalls(options)
    for by_contender in recall.values():
        for languages in by_contender.values():
            assert {*learning.PICTURED, *learning.UNPICTURED} <= languages.keys()
    # one language again, by sorting: the share of captions whose picture is among the ten most alike
    split = read_split(options.evaluation / 'multi30k_seen', languages=['uk'])
    folder = options.out / 'open_clip' / 'multi30k_seen'
    scores = np.load(folder / 'texts.uk.npy') @ np.load(folder / 'images.npy').T
    best = np.argsort(-scores, 1)[:, :10]
    expected = np.mean([row in ten for row, ten in zip(split.captions['uk'].rows, best, strict=True)])
    assert recall['multi30k_seen']['open_clip']['uk'] == pytest.approx(expected, abs=0.02)
    trained = json.loads((options.out / 'open_clip' / 'trained.json').read_text(encoding='utf8'))
    assert trained['records'] == 130 + 60 + 35 and trained['settings']['batch'] == 128, 'every record of cc3m, cc12m and wit'
    result = {'contenders': found, 'recall': recall, 'floor': {name: recall[name]['mural'] for name in recall}}
    assert 'mean without or few' in learning.text(result)
