"""What a run leaves of what it was given, beside its records."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from pretrain.cli import run
from pretrain.config import load_config
from pretrain.engine.ds_config import DEFAULT, resolve_ds_config
from pretrain.records import EVENTS, read_lines
from tests.support.launch import ROOT, command, prewarmed, succeed


@pytest.mark.slow
@pytest.mark.launcher
def test_deepspeeds_configuration_is_kept_and_a_change_of_it_is_told(home: Path, tmp_path: Path) -> None:
    out, other = tmp_path / 'run', tmp_path / 'other.json'
    shipped = json.loads(DEFAULT.read_text())
    other.write_text(json.dumps({**shipped, 'zero_optimization': {**shipped['zero_optimization'], 'contiguous_gradients': False}}))
    for steps, path, ranks in ((1, DEFAULT, 1), (2, other, 2), (3, other, 2)):
        words = ['tasks=[mt]', 'eval.tasks=[mt]', 'data.workers=0', f'steps={steps}', 'optimizer.clip=0.5', '--deepspeed', str(path)]
        succeed(command(prewarmed(ranks), home, out, *words), tmp_path)
    kept = json.loads((out / 'deepspeed.json').read_text())
    config = load_config(out / 'config.yaml')
    assert kept == resolve_ds_config(other, config, 2, 'cpu') and kept['gradient_clipping'] == 0.5
    state = json.loads((out / 'checkpoints/step-0000001/state.json').read_text())
    assert state['deepspeed'] == resolve_ds_config(DEFAULT, config, 1, 'cpu')
    first, second = [line['changed'] for line in read_lines(out / EVENTS) if line['event'] == 'resume']
    assert first == {'steps': 2, 'deepspeed.zero_optimization.contiguous_gradients': False} and second == {'steps': 3}
    assert run(['report', str(out)]) == 0
    page = (out / 'report.html').read_text()
    assert 'deepspeed.zero_optimization.contiguous_gradients=False' in page and re.search(
        r'\["deepspeed.gradient_clipping", ?"0.5", ?null\]', page
    )
    assert str(ROOT / 'ds_configs') not in json.dumps(kept), 'the settings themselves, not where they stood'
