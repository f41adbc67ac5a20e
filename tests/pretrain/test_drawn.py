"""`batch.merge: drawn` by pretrain/run.py at 1 and at 2 ranks; which tasks are drawn is in tests/pretrain/data/test_parts.py."""
from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pretrain.config import TASKS, load_config
from pretrain.data.parts import Parts
from pretrain.records import METRICS, read_lines
from tests.support.distributed import run_distributed
from tests.support.launch import ROOT, run_here, tiny

STEPS, DRAWS = 8, 4
# Pictures are augmented and tokens masked as ever: these depend on the batch alone. Only dropout depends on the ranks.
SETTINGS = ['batch.merge=drawn', f'batch.draws={DRAWS}', 'precision=fp32', 'model.dropout=0', f'steps={STEPS}', 'eval.tasks=[mt]']

Lines = list[dict[str, Any]]  # of metrics.jsonl


@pytest.fixture(scope='module')
def runs(home: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Lines]:
    """By the number of ranks. Micro-batches are of 2 samples, so that two ranks have half as many each; and two have loader processes."""
    out = {}
    for world in (1, 2):
        folder = tmp_path_factory.mktemp(f'ranks{world}')
        settings = [*tiny(home, folder / 'run'), *SETTINGS, f'data.workers={world - 1}']
        run_distributed(run_here, world, folder, ['--config', str(ROOT / 'configs/sample.yaml'), *settings])
        out[world] = read_lines(folder / 'run' / METRICS)
    return out


@pytest.mark.slow
@pytest.mark.launcher
def test_ranks_change_nothing_but_rounding(runs: dict[int, Lines]) -> None:
    one, two = runs[1], runs[2]
    assert [line['step'] for line in one] == [line['step'] for line in two] == list(range(1, STEPS + 1))
    for alone, shared in zip(one, two, strict=True):
        for key in ('samples', 'targets', 'examples', 'skipped', 'lr'):
            assert alone[key] == shared[key], (alone['step'], key)
        assert alone['loss'].keys() == shared['loss'].keys()
        assert shared['loss'] == pytest.approx(alone['loss'], rel=1e-5)
        assert shared['grad_norm'] == pytest.approx(alone['grad_norm'], rel=1e-5)


@pytest.mark.slow
@pytest.mark.launcher
def test_the_loss_is_the_mean_over_the_draws(home: Path, runs: dict[int, Lines]) -> None:
    """Each step trains what it drew, a task twice or not at all."""
    parts = Parts(load_config(ROOT / 'configs/sample.yaml', [*tiny(home, Path()), *SETTINGS]))
    drawn = [Counter(part.task for part in parts.at(step)) for step in range(STEPS)]
    for line, tasks in zip(runs[2], drawn, strict=True):
        assert set(line['loss']) == {*tasks, 'total'}
        assert line['loss']['total'] == pytest.approx(sum(times * line['loss'][task] for task, times in tasks.items()) / DRAWS)
    assert any(max(tasks.values()) > 1 for tasks in drawn) and set().union(*drawn) == {*TASKS}
