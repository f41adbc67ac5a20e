from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.pretrain.conftest import home, pictures  # noqa: F401  (fixtures)
from tests.support.distributed import alone
from tests.support.launch import ROOT, run


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
