"""Saves a checkpoint, in a process that dies at a chosen file operation of the save: run as a script by test_save.py, under crash.cpp.

A process of the fork server forks a child for each line of stdin, `{"folder": …, "crash": {…}, "again": …}`, and answers with
its exit code.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path

import torch

from pretrain.config import TASKS, Checkpoint
from pretrain.engine.checkpoint import load_checkpoint, newest_valid, tidy
from pretrain.engine.distributed import accelerator_name, init_distributed
from pretrain.engine.step import train_step
from pretrain.engine.zero import Engine
from pretrain.model.unix2 import UniX2
from tests.support.checkpoints import save_checkpoint
from tests.support.synthetic import VOCABULARY, rank_data, tiny_config


def save_next(folder: Path, crash: dict[str, str], again: bool) -> None:
    """Load the newest checkpoint, if there is one, make one update, save, with `crash` in the environment during the save. `again`: no
    update, so that what is there is saved once more.
    """
    init_distributed()
    config = tiny_config('run', checkpoint=Checkpoint(keep=2))
    torch.manual_seed(0)
    engine = Engine(UniX2(config.model, VOCABULARY), config, None)
    tidy(folder)
    path, problems = newest_valid(folder)
    assert not problems, problems
    done = load_checkpoint(engine, path)['step'] if path else 0
    if not again:
        assert train_step(engine, config, rank_data(list(TASKS)[:4], 0, 1, 8, seed=done), done, 1e-2)
        done += 1
    os.environ.update(crash)
    save_checkpoint(engine, folder, done, config, {})


def main() -> None:
    torch.set_num_threads(1)
    accelerator_name()  # imports DeepSpeed, once for all children
    importlib.import_module('deepspeed.runtime.zero.muon.muon_optimizer')  # and what `initialize` would take seconds to import
    for line in sys.stdin:
        task = json.loads(line)
        child = os.fork()
        if child == 0:
            os.setsid()
            code = 1
            try:
                save_next(Path(task['folder']), task['crash'], task['again'])
                code = 0
            finally:
                sys.stderr.flush()
                os._exit(code)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == '__main__':
    main()
