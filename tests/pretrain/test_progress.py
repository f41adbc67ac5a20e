"""What a person reads on the terminal of rank 0, whole, for a run whose every figure is known."""

from __future__ import annotations

import pytest

from pretrain.config import Config
from pretrain.engine.step import StepResult
from pretrain.progress import Progress, Standstill, duration, evaluating, step_line

BAD = 'the gradient is not finite'


def told(config: Config, steps: range, seconds: float, waited: float, peak: float | None, progress: Progress | None = None) -> Progress:
    """16 samples and 3e9 FLOPs a step; a step that seven divides is not made."""
    progress = progress or Progress(config, steps[0] - 1)
    for step in steps:
        result = StepResult(
            losses={'mt': 3 + step / 1000, 'cmcl': 2.0}, total=2.5 + step / 1000, grad_norm=1.256, problem=None if step % 7 else BAD,
            samples='', samples_of={'mt': 12, 'cmcl': 4}, targets={}, examples={}, tokens={}, flops=3_000_000_000,
        )  # fmt: skip
        progress.step(step_line(result, step, 1.5e-4 * step, 20.0, seconds, waited, peak), result)
    return progress


def configured(steps: int, every: int) -> Config:
    return Config.model_validate({'steps': steps, 'log': {'every': every}})


def test_every_figure_of_the_line(capsys: pytest.CaptureFixture[str]) -> None:
    """The first step, which waits for the loader, is told of and then forgotten; rates are those of the last 20 steps; the last step is
    told of.
    """
    config = configured(32, 10)
    progress = told(config, range(1, 2), 4.0, 3.0, 1e10)
    told(config, range(2, 11), 0.5, 0.1, 1e10, progress)
    told(config, range(11, 33), 2.0, 0.1, 1e10, progress)
    line = 'step {0}/32  loss {1}  mt {2} cmcl 2.000  lr {3}  |g| 1.26  temperature 0.0500  {4}'
    assert capsys.readouterr().err.splitlines() == [
        line.format(1, '2.501', '3.001', '1.50e-04', '4 samples/s  utilisation 7.5%  data wait 75.0%  2:04 left'),
        f'step 7: the update was skipped, {BAD}',
        line.format(10, '2.510', '3.010', '1.50e-03', '32 samples/s  utilisation 60.0%  data wait 20.0%  1 skipped  0:11 left'),
        f'step 14: the update was skipped, {BAD}',
        # 9 steps of half a second, 10 of two: 24.5 s
        line.format(20, '2.520', '3.020', '3.00e-03', '12 samples/s  utilisation 23.3%  data wait 7.8%  2 skipped  0:15 left'),
        f'step 21: the update was skipped, {BAD}',
        f'step 28: the update was skipped, {BAD}',
        line.format(30, '2.530', '3.030', '4.50e-03', '8 samples/s  utilisation 15.0%  data wait 5.0%  4 skipped  0:04 left'),
        line.format(32, '2.532', '3.032', '4.80e-03', '8 samples/s  utilisation 15.0%  data wait 5.0%  4 skipped  0:00 left'),
    ]


def test_a_run_that_goes_on_where_no_peak_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    """Its first step is told of; updates that were skipped before the start count."""
    config = configured(7200, 5)
    told(config, range(1001, 1006), 1.0, 0.25, None, Progress(config, 1000, skipped=2))
    skipped, first, last = capsys.readouterr().err.splitlines()
    same = 'cmcl 2.000  lr {}  |g| 1.26  temperature 0.0500  16 samples/s  data wait 25.0%  {} skipped  1:43:{} left'
    assert skipped == f'step 1001: the update was skipped, {BAD}'
    assert first == 'step 1001/7200  loss 3.501  mt 4.001 ' + same.format('1.50e-01', 3, '19')
    assert last == 'step 1005/7200  loss 3.505  mt 4.005 ' + same.format('1.51e-01', 3, '15')


def test_time_left_has_evaluations_and_checkpoints(capsys: pytest.CaptureFixture[str]) -> None:
    """Steps of a second; evaluations of 60 s at 10, 20, 25; checkpoints at 8, 16, 24, 25 that stop training for 2 s, the last of which
    takes 35 s beyond the last evaluation.
    """
    config = Config.model_validate({'steps': 25, 'log': {'every': 1}, 'eval': {'every': 10}, 'checkpoint': {'every': 8}})
    progress = Progress(config, 0, standstill=Standstill(evaluation=60.0, stall=2.0, writing=97.0))
    told(config, range(1, 26), 1.0, 0.0, None, progress)
    left = {line.split('/')[0]: line.split()[-2] for line in capsys.readouterr().err.splitlines() if line.endswith(' left')}
    expected = {1: 24 + 180 + 8, 8: 17 + 180 + 8, 9: 16 + 180 + 6, 10: 15 + 180 + 6, 11: 14 + 120 + 6, 24: 1 + 60 + 4, 25: 60 + 2}
    assert {step: left[f'step {step}'] for step in expected} == {step: duration(seconds + 35) for step, seconds in expected.items()}


def test_a_log_has_one_line_of_an_evaluation_that_runs(capsys: pytest.CaptureFixture[str]) -> None:
    evaluating(7, Standstill())
    assert capsys.readouterr().err == 'evaluating step 7 …\n'


@pytest.mark.parametrize(('seconds', 'said'), [(0.4, '0:00'), (59.6, '1:00'), (3599.4, '59:59'), (3723, '1:02:03'), (360_000, '100:00:00')])
def test_durations(seconds: float, said: str) -> None:
    assert duration(seconds) == said
