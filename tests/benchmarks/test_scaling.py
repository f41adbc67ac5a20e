"""Weak scaling at toy size: what it prints fits together, and the ranks' samples are different ones."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks.parts.step_arguments import parser
from benchmarks.parts.step_batches import step_data
from benchmarks.scaling import of_rank
from benchmarks.smoke import judge
from tests.benchmarks.test_step import TOY
from tests.support.distributed import alone
from tests.support.launch import ROOT, run

ONE_THREAD = TOY[: TOY.index('--threads')]


def test_what_it_measures(tmp_path: Path) -> None:
    done = run([*alone(), str(ROOT / 'benchmarks/scaling.py'), *ONE_THREAD, '--bf16'], tmp_path)
    result = judge(done.returncode, done.stdout)
    assert result['ratio'] == pytest.approx(result['ours'] / result['peer'], rel=0.02)
    seconds = result['seconds']
    assert result['ratio'] == pytest.approx(seconds['one'] / seconds['two'], rel=0.02) and result['precision'] == 'bf16'
    assert result['apart'] == pytest.approx(seconds['one'] / seconds['apart'], rel=0.02) and result['with_checkpoint'] > 0


def test_ranks_have_other_samples_of_the_same_lengths() -> None:
    flags = parser(None, threads=False)
    flags.add_argument('--runs')
    arguments = flags.parse_args(ONE_THREAD)
    arguments.share_images = True
    first, second = (of_rank(step_data(torch.Generator().manual_seed(1), arguments), rank) for rank in range(2))
    for task in first:
        one, two = first[task][0], second[task][0]
        assert torch.equal(one.text.lengths, two.text.lengths)
        assert not set(one.sample_ids.tolist()) & set(two.sample_ids.tolist())
        for name in ('image_ids', 'text_ids', 'other_ids', 'image_keys'):
            mine, theirs = getattr(one, name), getattr(two, name)
            assert mine is None or not set(mine.tolist()) & set(theirs.tolist())
