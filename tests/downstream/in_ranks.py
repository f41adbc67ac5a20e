"""Trains in ranks that start within a second, as `downstream TASK finetune` does under a launcher."""
from __future__ import annotations

from pathlib import Path

import torch

from downstream.cli import run
from tests.support.distributed import run_distributed


def train_in_ranks(ranks: int, folder: Path, *words: str) -> None:
    """`downstream` with these words."""
    run_distributed(_train, ranks, folder, list(words))


def _train(words: list[str]) -> torch.Tensor:
    assert run(words) == 0
    return torch.tensor(0)
