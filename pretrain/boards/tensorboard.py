"""TensorBoard's event files, in RUN/tensorboard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pretrain.boards.board import Board
from pretrain.boards.scalars import Scalars


class TensorBoard(Board):
    """Later steps than `done`, of an attempt that died, are hidden."""

    def __init__(self, folder: Path, done: int):
        self.folder = folder
        self._writer = _writer(folder, done)

    def scalars(self, step: int, values: Scalars) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def back(self, done: int) -> None:
        self._writer.close()
        self._writer = _writer(self.folder, done)

    def flush(self) -> None:
        self._writer.flush()

    def close(self, code: int | None) -> None:
        self._writer.close()


def _writer(folder: Path, done: int) -> Any:
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder), purge_step=done + 1)
