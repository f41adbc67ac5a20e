"""What the tests of several fine-tunings have in common: how they begin, are killed, and are compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from downstream.benchmark import Benchmark
from downstream.finetuning import FineTuning
from downstream.recipes import compose
from pretrain.model.load import find_model
from pretrain.records import EVALUATION, EVENTS, METRICS, read_lines
from tests.support.launch import ROOT, Started, prewarmed, reproducible, steps

# Of all: bit for bit the same on every run, and no more around it than needed.
SETTINGS = ['finetune.patience=0', 'precision=fp32', 'data.workers=0', 'log.tensorboard=false', 'model.dropout=0']


def workload(kind: type[Benchmark], export: Path, data: Path, *settings: str) -> FineTuning:
    """A fine-tuning of an export by the benchmark's recipe and these settings, to be looked at."""
    base = find_model(export)
    return FineTuning(*compose(kind, export, base, data, None, data / 'out', ['data.workers=0', *settings]), base)


def words(command: list[str], model: Path, data: Path, out: Path, *settings: str) -> list[str]:
    """Those of `downstream` for a fine-tuning; the command is [benchmark, 'finetune']."""
    return [*command, '--model', str(model), '--data', str(data), '--out', str(out), *settings]


def result(out: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((out / 'result.json').read_text(encoding='utf8'))
    return content


def kill_at(step: int, words: list[str], out: Path) -> int:
    """Start a fine-tuning to `out` in one rank and kill it after that step; the steps that it has made."""
    started = Started([*prewarmed(1), str(ROOT / 'downstream/run.py'), *words], out.parent)
    started.wait_for(lambda: steps(out) >= step)
    started.kill()
    return steps(out)


def assert_same_bits(resumed: Path, whole: Path, number: int) -> None:
    """Of so many steps, in what was killed and started again and in what never stopped."""
    ours, theirs = ([reproducible(line) for line in read_lines(out / METRICS)] for out in (resumed, whole))
    assert ours == theirs and len(ours) == number
    assert 'resume' in [line['event'] for line in read_lines(resumed / EVENTS)]
    assert read_lines(resumed / EVALUATION) == read_lines(whole / EVALUATION)
    one, other = (load_file(out / 'best/model.safetensors') for out in (resumed, whole))
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in other)


def assert_same_in_ranks(two: Path, one: Path, task: str, number: int) -> None:
    """Of so many steps, few enough for rounding not to have grown: the samples, and but for rounding the losses and the development set."""
    ours, theirs = (read_lines(out / METRICS) for out in (two, one))
    assert [line['samples'] for line in ours] == [line['samples'] for line in theirs] and len(ours) == number
    assert [line['loss'][task] for line in ours] == pytest.approx([line['loss'][task] for line in theirs], rel=1e-3)
    first, second = (read_lines(out / EVALUATION) for out in (two, one))
    assert [line['dev'] for line in first] == [pytest.approx(line['dev'], rel=1e-6) for line in second]
