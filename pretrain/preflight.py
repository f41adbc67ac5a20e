"""What can be told about a run before any process group, engine or loader starts, in every process that a launcher made."""

from __future__ import annotations

from pathlib import Path

import torch

from pretrain.boards.opened import check_boards
from pretrain.config import Config
from pretrain.data.order import rank_positions
from pretrain.engine.checkpoint import checkpoints, read_state
from pretrain.engine.distributed import launched_world
from pretrain.engine.ds_config import resolve_ds_config
from pretrain.engine.resume import check_same_run
from pretrain.model.folder import CHECKPOINTS
from pretrain.model.unix2 import UniX2
from pretrain.workload import Workload
from shards.errors import UserError


def check_run(workload: Workload, ds_config: str | Path | None) -> dict[str, str]:
    """Raises UserError for a run that cannot be: batches that the processes do not divide, DeepSpeed settings against the YAML's, data,
    languages or trackers that are not there, a model that cannot be built, a checkpoint of another one.

    Returns name -> sha256 of the data, of all that the run trains on.
    """
    config, world = workload.config, launched_world()
    for task in config.tasks:
        rank_positions(config, task, 0, world)
    resolve_ds_config(ds_config, config, world, 'cpu')
    check_boards(config)
    manifests = workload.check()
    with torch.device('meta'):  # costs no memory
        UniX2(config.model, workload.tokenizer.vocabulary)
    check_newest_checkpoint(config)
    return manifests


def check_newest_checkpoint(config: Config) -> None:
    """Raises UserError when the run in `out` is another one. Whether its files are whole is found out later, with their hashes."""
    for path in reversed(checkpoints(Path(config.out) / CHECKPOINTS)):
        try:
            state = read_state(path)
        except UserError:  # damaged: an older one counts
            continue
        check_same_run(config, state['config'], path)
        return
