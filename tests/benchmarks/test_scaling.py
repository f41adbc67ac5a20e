"""Weak scaling at toy size: what it prints fits together, and the ranks' samples are different ones."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks.scaling import drawn
from benchmarks.smoke import judge
from tests.benchmarks.test_step import TOY, arguments
from tests.support.distributed import alone
from tests.support.launch import ROOT, run

ONE_THREAD = TOY[: TOY.index('--threads')]


def test_what_it_measures(tmp_path: Path) -> None:
    done = run([*alone(), str(ROOT / 'benchmarks/scaling.py'), *ONE_THREAD, '--bf16'], tmp_path)
    result = judge(done.returncode, done.stdout)
    assert result['ratio'] == pytest.approx(result['ours'] / result['peer'], rel=0.02)
    seconds = result['seconds']
    assert result['ratio'] == pytest.approx(seconds['one'] / seconds['two'], rel=0.02) and result['precision'] == 'bf16'
    assert result['apart'] == pytest.approx(seconds['one'] / seconds['apart'], rel=0.02)
    # Two ranks that save by one that does not: by one that saves too, the stall would cancel.
    assert result['with_checkpoint'] == pytest.approx(seconds['one'] / result['seconds_saving']['two'], rel=0.02)
    unequal = result['seconds_unequal']
    assert result['unequal'] == pytest.approx(unequal['one'] / unequal['two'], rel=0.02) and unequal != seconds


def test_ranks_have_other_samples_of_the_same_lengths() -> None:
    first, second = (next(drawn(arguments(share_images=True), rank, equal=True)) for rank in range(2))
    for task in first:
        one, two = first[task][0], second[task][0]
        assert torch.equal(one.text.lengths, two.text.lengths)
        assert not set(one.sample_ids.tolist()) & set(two.sample_ids.tolist())
        for name in ('image_ids', 'text_ids', 'other_ids', 'image_keys'):
            mine, theirs = getattr(one, name), getattr(two, name)
            assert mine is None or not set(mine.tolist()) & set(theirs.tolist())


def test_ranks_may_have_lengths_of_their_own() -> None:
    first, second = (next(drawn(arguments(), rank, equal=False)) for rank in range(2))
    assert any(not torch.equal(first[task][0].text.lengths, second[task][0].text.lengths) for task in first)
