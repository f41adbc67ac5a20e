"""The step benchmark at toy size: it must compare the same work, and say so."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.support.distributed import python

ROOT = Path(__file__).parents[2]
TOY = ['--dim', '16', '--layers', '1', '--heads', '2', '--vocab', '97', '--batch', '3', '--caption', '8', '--text', '12', '--image', '16']
TOY += ['--vit-dim', '12', '--vit-layers', '1', '--vit-heads', '2', '--steps', '1', '--runs', '1', '--threads', '1']


def test_it_runs_both_on_equal_work_and_ends_with_the_ratio(tmp_path: Path) -> None:
    """It starts six processes, which have imported everything here."""
    words, inner = [str(ROOT / 'benchmarks/step.py'), *TOY], python(tmp_path)
    code = f'import runpy, sys; sys.executable, sys.argv = {inner!r}, {words!r}; runpy.run_path(sys.argv[0], run_name="__main__")'
    command = [sys.executable, '-c', code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'equal: tokens ' in done.stdout and 'dropout 0.1' in done.stdout
    result = json.loads(done.stdout.splitlines()[-1])
    assert 'distinct pictures a step: 15, shared 3' in done.stdout
    assert result['share_images'] == round(result['shared'] / result['ours'], 3)
    assert result['ratio'] == round(result['ours'] / result['peer'], 3) and result['precision'] == 'fp32'
