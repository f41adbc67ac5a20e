"""Trains in ranks that start within a second, as `downstream TASK finetune` does under a launcher."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from downstream.cli import run
from shards.errors import run_command
from tests.support import finetunings
from tests.support.distributed import run_distributed


def train_in_ranks(ranks: int, folder: Path, *words: str, code: int = 0) -> None:
    """`downstream` with these words, which every rank must end with this exit code (2: a user's mistake)."""
    run_distributed(_train, ranks, folder, list(words), code)


def _train(words: list[str], code: int) -> torch.Tensor:
    assert run_command(lambda: run(words)) == code
    return torch.tensor(0)


def killed_and_resumed(step: int, number: int, folder: Path, words: Callable[[Path], list[str]]) -> tuple[Path, Path]:
    """A fine-tuning of so many steps by `words(out)`, killed after `step` and started again by the command: it must have ended with the
    bits of one that never stopped. Returns the folders of both.
    """
    whole, out = folder / 'whole', folder / 'killed'
    train_in_ranks(1, folder, *words(whole))
    assert finetunings.kill_at(step, words(out), out) < number
    assert run([*words(out), '--ranks', '1']) == 0
    finetunings.assert_same_bits(out, whole, number)
    return out, whole
