from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import learning
from downstream.files import write_text
from downstream.quickstart.steps import Step, Steps
from pretrain.config import load_config
from pretrain.evaluation.multi30k import read_split
from tests.pretrain.conftest import home, pictures  # noqa: F401  (fixtures)
from tests.support.launch import ROOT, TINY


@pytest.fixture(scope='module')
def options(home: Path, tmp_path_factory: pytest.TempPathFactory) -> argparse.Namespace:  # noqa: F811
    out = tmp_path_factory.mktemp('learning')
    for name in ('tokenizer', 'shards'):
        (out / name).symlink_to(home / name)
    return argparse.Namespace(
        raw=ROOT / 'sample/raw', evaluation=ROOT / 'sample/evaluation', out=out, minutes=0.02, contenders=['open_clip'],
        seed=0, batch=128, probe=3, set=[*TINY, 'log.tensorboard=false'],
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.launcher
def test_the_peer_trains_for_the_time_and_is_ranked(options: argparse.Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    found = {'open_clip': learning.contend(Steps(options.out), 'open_clip', options)}
    assert found['open_clip']['steps'] > 0 and found['open_clip']['samples'] == 128 * found['open_clip']['steps']
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
    result = {'contenders': found, 'recall': recall, 'floor': {name: recall[name]['open_clip'] for name in recall}}
    assert 'mean without or few' in learning.text(result)
    line = learning.compared(result)
    assert line['ratio'] == 1 and 'of open_clip on multi30k_seen' in line['what'] and line['what'].endswith('peer: floor')
    assert line['ours'] == pytest.approx(np.mean([recall['multi30k_seen']['open_clip'][language] for language in learning.PICTURED]))


def test_ours_take_the_steps_that_fit_the_time(options: argparse.Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands, and what is read of the run that measures a step: 128 samples (2 tasks of 64) at 64 a second are 2 s, later 2.2 s."""
    commands: list[list[str]] = []

    def run(self: Steps, steps: list[Step]) -> None:
        for step in steps:
            commands.append(step.command)
            out = next((word.removeprefix('out=') for word in step.command if word.startswith('out=')), None)
            if out is not None:
                lines = [{'step': number, 'samples_per_s': 64.0 if number else 1.0} for number in range(6)]
                write_text(Path(out) / 'metrics.jsonl', ''.join(json.dumps(line) + '\n' for line in lines))

    monkeypatch.setattr(Steps, 'run', run)
    asked = argparse.Namespace(**{**vars(options), 'minutes': 1.0, 'set': ['batch={global: 64, micro: 8, tasks: {}}']})
    told = learning.contend(Steps(options.out), 'mural', asked)
    assert told['steps'] == 29 and told['samples'] == 29 * 128
    probe, train, *evaluations = commands
    assert 'steps=3' in probe and 'steps=29' in train and 'tasks=[cmcl, clcl]' in train
    assert [command[1:3] for command in evaluations] == [['multi30k-retrieval', 'evaluate']] * len(learning.SETS)
    settings = train[train.index('--config') + 2 :]
    assert load_config(ROOT / 'configs/bench.yaml', settings).steps == 29
