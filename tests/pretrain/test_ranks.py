"""pretrain/run.py at 1 and at 2 ranks is the same run, whatever of the method's options are on; with dropout 0, in fp32."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pretrain.config import TASKS, load_config
from pretrain.data.parts import Parts
from pretrain.records import METRICS, read_lines
from tests.support.launch import ROOT, prewarmed, succeed, tiny

pytestmark = [pytest.mark.slow, pytest.mark.launcher]

# Pictures are augmented and tokens masked as ever: these depend on the batch alone. Only dropout depends on the ranks.
SETTINGS = ['precision=fp32', 'model.dropout=0', 'batch.micro=2', 'eval.tasks=[mt]']
DRAWS = 4
CASES = {
    'drawn': ['steps=8', 'batch.merge=drawn', f'batch.draws={DRAWS}'],
    'options': [
        'steps=3', 'batch.together=true', 'batch.tasks={cmcl: 16}', 'task_weights={itm: 3, mt: 0.5}', 'task.itm_negatives=hard',
        'task.duplicates=ignored', 'task.code_switch=0.5', 'model.contrastive=sigmoid', 'model.text_pooling=eos',
    ],
}  # fmt: skip

Lines = list[dict[str, Any]]  # of metrics.jsonl


@pytest.fixture(scope='module')
def runs(home: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Lines, Lines]]:
    """At 1 and at 2 ranks. Micro-batches are of 2 samples, so that two ranks have half as many each. Two ranks of one case have loader
    processes.
    """

    def lines(name: str, world: int) -> Lines:
        folder = tmp_path_factory.mktemp(f'ranks{world}')
        workers = world - 1 if name == 'drawn' else 0
        arguments = [*tiny(home, folder / 'run'), *SETTINGS, *CASES[name], f'data.workers={workers}']
        script = str(ROOT / 'pretrain/run.py')
        succeed([*prewarmed(world), script, '--config', str(ROOT / 'configs/sample.yaml'), *arguments], folder)
        return read_lines(folder / 'run' / METRICS)

    return {name: (lines(name, 1), lines(name, 2)) for name in CASES}


@pytest.mark.parametrize('name', CASES)
def test_ranks_change_nothing_but_rounding(runs: dict[str, tuple[Lines, Lines]], name: str) -> None:
    one, two = runs[name]
    assert len(one) == len(two) > 2
    for alone, shared in zip(one, two, strict=True):
        for key in ('step', 'samples', 'targets', 'examples', 'skipped', 'lr'):
            assert alone[key] == shared[key], (alone['step'], key)
        assert alone['loss'].keys() == shared['loss'].keys()
        assert shared['loss'] == pytest.approx(alone['loss'], rel=1e-5)
        assert shared['grad_norm'] == pytest.approx(alone['grad_norm'], rel=1e-5)


def test_a_step_of_drawn_tasks(home: Path, runs: dict[str, tuple[Lines, Lines]]) -> None:
    """It trains what it drew, a task twice or not at all; its loss is the mean over the draws."""
    parts = Parts(load_config(ROOT / 'configs/sample.yaml', [*tiny(home, Path()), *CASES['drawn']]))
    drawn = [Counter(part.task for part in parts.at(step)) for step in range(8)]
    for line, tasks in zip(runs['drawn'][1], drawn, strict=True):
        assert set(line['loss']) == {*tasks, 'total'}
        assert line['loss']['total'] == pytest.approx(sum(times * line['loss'][task] for task, times in tasks.items()) / DRAWS)
    assert any(max(tasks.values()) > 1 for tasks in drawn) and set().union(*drawn) == {*TASKS}


def test_a_step_with_options(runs: dict[str, tuple[Lines, Lines]]) -> None:
    """All tasks, weighted; hard negatives replaced something."""
    weights = {'itm': 3, 'mt': 0.5}
    for line in runs['options'][1]:
        assert list(line['loss']) == [*TASKS, 'total'] and not line['skipped']
        assert line['loss']['total'] == pytest.approx(sum(weights.get(task, 1) * line['loss'][task] for task in TASKS) / len(TASKS))
    assert sum(line['examples']['negatives.itm'] for line in runs['options'][1]) > 0
