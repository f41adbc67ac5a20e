from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.distributed import alone
from tests.support.launch import ROOT, run


@pytest.mark.slow
def test_what_it_measures(tmp_path: Path) -> None:
    small = ['--ranks', '1', '--millions', '20', '--saves', '1', '--dir', str(tmp_path)]
    done = run([*alone(), str(ROOT / 'benchmarks/checkpoint.py'), *small], tmp_path)
    result = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == (0 if result['within'] else 1), done.stderr
    assert result['bytes'] > 12 * 15_000_000 and 0 < result['ours'] < result['durable'] and result['deepspeed'] > 0
    assert result['ratio'] == pytest.approx(result['ours'] / result['peer'])
    assert not list(tmp_path.glob('checkpoint-*'))
