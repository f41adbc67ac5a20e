"""Weak scaling at toy size: what it prints fits together, and the ranks' samples are different ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks.parts.step_arguments import parser
from benchmarks.parts.step_ours import step_data
from benchmarks.scaling import of_rank
from tests.benchmarks.test_step import TOY
from tests.support.distributed import alone
from tests.support.launch import ROOT, run


def test_what_it_measures(tmp_path: Path) -> None:
    done = run([*alone(), str(ROOT / 'benchmarks/scaling.py'), *TOY[:-2], '--bf16'], tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    seconds = result['seconds']
    assert result['ratio'] == pytest.approx(seconds['one'] / seconds['two'], rel=0.02) and result['precision'] == 'bf16'
    assert result['apart'] == pytest.approx(seconds['one'] / seconds['apart'], rel=0.02) and result['with_checkpoint'] > 0


def test_ranks_have_other_samples_of_the_same_lengths() -> None:
    arguments = parser(None, threads=False).parse_args(TOY[:-4])
    arguments.share_images = True
    first, second = (of_rank(step_data(torch.Generator().manual_seed(1), arguments), rank) for rank in range(2))
    for task in first:
        one, two = first[task][0], second[task][0]
        assert torch.equal(one.text.lengths, two.text.lengths)
        assert not set(one.sample_ids.tolist()) & set(two.sample_ids.tolist())
        for name in ('image_ids', 'text_ids', 'other_ids', 'image_keys'):
            mine, theirs = getattr(one, name), getattr(two, name)
            assert mine is None or not set(mine.tolist()) & set(theirs.tolist())
