"""The benchmark runs, on a model of no size."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.support.distributed import alone
from tests.support.launch import environment

ROOT = Path(__file__).parents[2]
TINY = [
    'model.dim=16', 'model.heads=2', 'model.ffn=16', 'model.text_layers=1', 'model.cross_layers=1', 'model.decoder_layers=1',
    'model.visual={image_size: 32, options: {embed_dim: 24, depth: 1, num_heads: 2}}', 'data.text_tokens=16', 'data.caption_tokens=12',
]  # fmt: skip


@pytest.mark.slow
def test_command_prints_one_line() -> None:
    command = [*alone(), 'benchmarks/full_size_step.py', '--samples', '2', '--steps', '1', *TINY]
    done = subprocess.run(command, cwd=ROOT, env={**environment(), 'PYTHONPATH': str(ROOT)}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    line = json.loads(done.stdout.splitlines()[-1])
    assert 4_000_000 < line['parameters'] < 5_000_000 and line['ratio'] > 1
    assert all(f'{task} ' in done.stderr for task in ('cmcl', 'clcl', 'itm', 'mlm', 'plm', 'vplm', 'mt', 'mmmt'))
