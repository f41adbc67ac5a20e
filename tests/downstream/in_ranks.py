"""Trains in ranks that start within a second, as `downstream TASK finetune` does under a launcher."""

from __future__ import annotations

from pathlib import Path

import torch

from downstream.cli import run
from shards.errors import run_command
from tests.support.distributed import run_distributed


def train_in_ranks(ranks: int, folder: Path, *words: str, code: int = 0) -> None:
    """`downstream` with these words, which every rank must end with this exit code (2: a user's mistake)."""
    run_distributed(_train, ranks, folder, list(words), code)


def _train(words: list[str], code: int) -> torch.Tensor:
    assert run_command(lambda: run(words)) == code
    return torch.tensor(0)
