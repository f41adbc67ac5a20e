"""When an update is left out, when the run goes back, and over which data."""

from __future__ import annotations

import json
import math

import pytest

from pretrain.config import Recovery as Options
from pretrain.data.order import data_step
from pretrain.engine.recovery import ENOUGH, Recovery

USUAL = {'mt': 4.0, 'plm': 6.0}


def trained(steps: int = ENOUGH, **options: float) -> Recovery:
    recovery = Recovery(Options.model_validate(options))
    for _ in range(steps):
        assert recovery.judge(USUAL) is None
        assert not recovery.note(USUAL, False)
    return recovery


@pytest.mark.parametrize('loss', [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_is_named_by_its_task(loss: float) -> None:
    assert trained(0).judge({**USUAL, 'mt': loss}) == 'the loss of mt is not finite'


def test_a_jump_is_measured_against_the_median_of_each_task() -> None:
    recovery = trained()
    assert recovery.judge({'mt': 5.9, 'plm': 7.9}) is None
    assert recovery.judge({'mt': 12.0, 'plm': 6.0}) == 'the loss jumped by 4.00, that of mt most, from 4.00 to 12.00'
    assert recovery.judge({'plm': 7.9}) is None, 'a step may train a part of the tasks: plm alone is above the usual mean of 5'
    assert recovery.judge({'itm': 99.0}) is None, 'nothing is known of it'
    assert recovery.judge({'mt': 0.0, 'plm': 0.0}) is None


def test_no_judgement_of_jumps_at_the_start_or_when_it_is_off() -> None:
    assert trained(ENOUGH - 1).judge({'mt': 99.0}) is None
    assert trained(spike=0).judge({'mt': 99.0}) is None


def test_what_was_skipped_is_not_usual() -> None:
    recovery = trained(patience=100)
    for _ in range(90):
        assert not recovery.note({'mt': 99.0, 'plm': 99.0}, True)
    assert recovery.judge({'mt': 99.0, 'plm': 99.0}) is not None
    assert recovery.skipped == recovery.streak == 90


def test_the_run_goes_back_after_so_many_in_a_row() -> None:
    recovery = trained(patience=3)
    assert [recovery.note(USUAL, skipped) for skipped in (True, True, False, True, True, True)] == [False] * 5 + [True]


def test_the_window_is_that_of_the_bad_steps_and_a_margin() -> None:
    recovery = trained(patience=2, margin=4)
    recovery.note(USUAL, True)
    assert recovery.note(USUAL, True)
    assert recovery.pass_over(done=50, checkpoint=10) == (44, 50)  # steps 48 and 49 (from 0) were bad
    assert [data_step(step, recovery.skip) for step in (43, 44, 45)] == [43, 50, 51]

    recovery.note(USUAL, True)
    recovery.note(USUAL, True)
    assert recovery.pass_over(done=46, checkpoint=44) == (50, 52)  # the checkpoint is nearer than the margin
    assert recovery.skip == [(44, 52)] and recovery.rollbacks == 2 and recovery.streak == 0


def test_a_resumed_run_judges_as_an_unbroken_one() -> None:
    recovery = trained(20)
    recovery.note(USUAL, True)
    recovery.skip = [(3, 5)]
    resumed = Recovery(Options())
    resumed.load(json.loads(json.dumps(recovery.state())))
    for name in ('skip', 'recent', 'streak', 'skipped'):
        assert getattr(resumed, name) == getattr(recovery, name)
    assert resumed.judge({'mt': 99.0}) == recovery.judge({'mt': 99.0})
    resumed.load({})
    assert resumed.skip == [] and resumed.streak == 0
