"""The boards that a configuration asks for."""

from __future__ import annotations

import importlib.util
from functools import partial
from pathlib import Path

from pretrain.boards.board import Background, Board, Guarded
from pretrain.boards.mlflow_run import MlflowRun
from pretrain.boards.tensorboard import TensorBoard
from pretrain.boards.weights_and_biases import WeightsAndBiases
from pretrain.config import Config, flat
from shards.errors import UserError


def check_boards(config: Config) -> None:
    """Raises UserError for a tracker whose package is not here."""
    for name in ('wandb', 'mlflow'):
        if getattr(config.log, name) is not None and importlib.util.find_spec(name) is None:
            why = f'log.{name} is set, and the package {name} is not here'
            raise UserError(f"{why}; pip install -e '.[track]' in the folder of this repository brings it, log.{name}=null goes without")


def open_boards(config: Config, done: int) -> list[Board]:
    """Of a run that goes on after `done` steps. Errors do not come out of them."""
    out = Path(config.out)
    boards: list[Board] = []
    if config.log.tensorboard:
        boards.append(Guarded(str(out / 'tensorboard'), partial(TensorBoard, out / 'tensorboard', done)))
    settings = flat(config.model_dump(by_alias=True, mode='json'))
    if config.log.wandb is not None:
        boards.append(Background('log.wandb', partial(WeightsAndBiases, config.log.wandb, out, settings)))
    if config.log.mlflow is not None:
        boards.append(Background('log.mlflow', partial(MlflowRun, config.log.mlflow, out, settings)))
    return boards
