from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.loader import peers, theirs, waited
from pretrain.config import load_config
from pretrain.data.loader import StepBatches
from pretrain.records import METRICS
from shards.errors import UserError
from shards.tokenizer import Tokenizer
from tests.pretrain.conftest import home, pictures  # noqa: F401  (fixtures)
from tests.support.distributed import alone
from tests.support.launch import ROOT, run


def test_a_round_of_the_peer_lies_within_one_of_its_epochs(home: Path) -> None:  # noqa: F811
    """Though it has more samples than there are records: a second epoch within the round would be timed with its start."""
    files = [f'data.shards={home / "shards"}', f'data.tokenizer={home / "tokenizer"}', 'data.workers=0']
    small = ['batch={global: 4, micro: 2, tasks: {}}', 'data.block=64', 'data.shuffle_shards=2', 'steps=100', 'tasks=[cmcl, mt]']
    config = load_config(ROOT / 'configs/sample.yaml', [*files, *small])
    dataset = StepBatches(config, Tokenizer.load(config.data.tokenizer), 0, 1)
    for task, loader in peers(dataset, config).items():
        assert sum(len(source.stream) for source in dataset.orders[task].sources) < 4 * config.steps
        assert sum(1 for _ in theirs(loader, 4)) == config.steps


def test_the_wait_of_a_run_is_that_of_its_seconds_not_of_its_steps(tmp_path: Path) -> None:
    lines = [{'step': 1, 'seconds': 3.0, 'data_wait': 0.5}, {'step': 2, 'seconds': 1.0, 'data_wait': 0.1}]
    (tmp_path / METRICS).write_text(''.join(f'{json.dumps(line)}\n' for line in lines), encoding='utf8')
    assert waited(tmp_path) == {'share': pytest.approx(1.6 / 4), 'seconds': 4, 'steps': 2}


def test_a_folder_without_steps_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match='the folder of a run'):
        waited(tmp_path)
    (tmp_path / METRICS).touch()
    with pytest.raises(UserError, match='has no steps'):
        waited(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize('workers', [0, 1])
def test_both_loaders_deliver_every_task(home: Path, tmp_path: Path, workers: int) -> None:  # noqa: F811
    files = ['--shards', str(home / 'shards'), '--tokenizer', str(home / 'tokenizer')]
    small = ['batch={global: 4, micro: 2, tasks: {}}', 'data.block=64', 'data.shuffle_shards=2']
    amount = ['--workers', str(workers), '--steps', '3', '--rounds', '1', '--photographs', '300']
    done = run([*alone(), str(ROOT / 'benchmarks/loader.py'), *files, *amount, *small], tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result['workers'] == workers and result['ours'] > 0 and result['peer'] > 0
    assert result['ratio'] == pytest.approx(result['ours'] / result['peer'], rel=0.05)
    assert 'cmcl' in done.stdout and 'mmmt' in done.stdout
    assert [compared['size'] for compared in result['pictures']] == [64, 224]
    assert all(compared['ours'] > 0 for compared in result['pictures'])
