"""What the tests of several fine-tunings begin with."""

from __future__ import annotations

from pathlib import Path

from downstream.benchmark import Benchmark
from downstream.finetuning import FineTuning
from downstream.recipes import compose
from pretrain.model.load import find_model

# Of all: bit for bit the same on every run, and no more around it than needed.
SETTINGS = ['finetune.patience=0', 'precision=fp32', 'data.workers=0', 'log.tensorboard=false', 'model.dropout=0']


def workload(kind: type[Benchmark], export: Path, data: Path, *settings: str) -> FineTuning:
    """A fine-tuning of an export by the benchmark's recipe and these settings, to be looked at."""
    base = find_model(export)
    return FineTuning(*compose(kind, export, base, data, None, data / 'out', ['data.workers=0', *settings]), base)


def words(command: list[str], model: Path, data: Path, out: Path, *settings: str) -> list[str]:
    """Those of `downstream` for a fine-tuning; the command is [benchmark, 'finetune']."""
    return [*command, '--model', str(model), '--data', str(data), '--out', str(out), *settings]
