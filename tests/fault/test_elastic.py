"""The same run at 4, 2, 1 and again 2 ranks, by nothing but the launcher's number: the same samples in every batch, the same losses."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pretrain.records import EVENTS, METRICS, read_lines
from tests.support.launch import command, forked, prewarmed, run, steps

pytestmark = [pytest.mark.slow, pytest.mark.launcher]

PARTS = ((4, 3), (2, 6), (1, 8), (2, 10))  # ranks, up to this step
# A warm-up longer than the run: its rate is another one at every step, and does not depend on `steps`.
SETTINGS = ['data.workers=0', 'eval.tasks=[mt]', 'optimizer={lr: 3e-2, lr_min: 3e-2, warmup: 100}']
EXACT = ['precision=fp32', 'model.dropout=0', 'batch.micro=2']  # one to four micro-batches of a task
ROUNDING = 1e-5
# With dropout, whose masks depend on the number of ranks, and bf16: relative difference of a step's total loss (docs/operations.md).
BAND = 0.05


@pytest.fixture(scope='module')
def elastic(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with `straight`, 2 ranks throughout, and `elastic`."""
    folder = tmp_path_factory.mktemp('elastic')
    forked(2, home, folder / 'straight', *SETTINGS, *EXACT, f'steps={PARTS[-1][1]}')
    for ranks, until in PARTS:
        forked(ranks, home, folder / 'elastic', *SETTINGS, *EXACT, f'steps={until}')
    return folder


def test_same_samples_and_losses(elastic: Path) -> None:
    straight, ours = (read_lines(elastic / name / METRICS) for name in ('straight', 'elastic'))
    assert [line['world'] for line in read_lines(elastic / 'elastic' / EVENTS) if 'world' in line] == [ranks for ranks, _ in PARTS]
    assert [line['samples'] for line in ours] == [line['samples'] for line in straight]
    for line, other in zip(ours, straight, strict=True):
        assert line['loss'] == pytest.approx(other['loss'], rel=ROUNDING), line['step']
        assert line['lr'] == other['lr'] and line['targets'] == other['targets']
    assert len({line['lr'] for line in straight}) == len(straight) == PARTS[-1][1]


def test_same_weights(elastic: Path) -> None:
    straight, ours = (elastic / name / f'checkpoints/step-{PARTS[-1][1]:07d}' for name in ('straight', 'elastic'))
    files = sorted(path.name for path in straight.glob('*.safetensors'))
    assert len(files) == 2
    for file in files:
        weights, others = load_file(ours / file), load_file(straight / file)
        assert weights.keys() == others.keys()
        for name, weight in weights.items():
            torch.testing.assert_close(weight, others[name], rtol=1e-3, atol=1e-4)  # they moved by 1e-2


def test_tasks_with_pictures_in_common(home: Path, tmp_path: Path) -> None:
    """2 ranks, then 1, against 2 throughout."""
    for name, ranks, until in (('straight', 2, 4), ('elastic', 2, 2), ('elastic', 1, 4)):
        forked(ranks, home, tmp_path / name, *SETTINGS, *EXACT, 'mixture.share_images=true', f'steps={until}')
    straight, ours = (read_lines(tmp_path / name / METRICS) for name in ('straight', 'elastic'))
    assert len(ours) == 4 and [line['samples'] for line in ours] == [line['samples'] for line in straight]
    for line, other in zip(ours, straight, strict=True):
        assert line['loss'] == pytest.approx(other['loss'], rel=ROUNDING) and line['targets'] == other['targets']


def test_within_a_band_with_dropout_in_bf16(home: Path, tmp_path: Path) -> None:
    """4 ranks, then 2, against 2 throughout."""
    for name, ranks, until in (('two', 2, 6), ('four', 4, 3), ('four', 2, 6)):
        forked(ranks, home, tmp_path / name, *SETTINGS, f'steps={until}')
    two, four = (read_lines(tmp_path / name / METRICS) for name in ('two', 'four'))
    assert [line['samples'] for line in four] == [line['samples'] for line in two] and len(two) == 6
    for line, other in zip(four, two, strict=True):
        assert line['loss']['total'] == pytest.approx(other['loss']['total'], rel=BAND)
    assert all(line['loss'] != other['loss'] for line, other in zip(four[:3], two[:3], strict=True)), 'dropout is on'


def test_an_impossible_number_names_those_that_are_possible(home: Path, elastic: Path) -> None:
    before = steps(elastic / 'elastic')
    refused = run(command(prewarmed(3), home, elastic / 'elastic', *SETTINGS, *EXACT, 'steps=12'), elastic)
    printed = refused.stdout + refused.stderr
    assert refused.returncode == 2 and 'Traceback' not in printed, printed
    (line,) = (line for line in printed.splitlines() if line.startswith('error:'))  # of three processes one says it
    assert 'batch.global=8 cannot be shared equally by 3 processes; start 1, 2, 4 or 8, or set it to a multiple of 3' in line
    assert steps(elastic / 'elastic') == before
