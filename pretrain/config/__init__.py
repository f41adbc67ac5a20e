"""Every setting of a run, typed and described: one file a section, `root.py` puts them together, `files.py` reads YAML."""

from __future__ import annotations

from pretrain.config.data import Data
from pretrain.config.faults import Recovery, Watchdog
from pretrain.config.files import dump_config, load_config, override, validated
from pretrain.config.finetune import FineTune
from pretrain.config.flat import differences, flat, within
from pretrain.config.init import Init
from pretrain.config.kernels import Kernels
from pretrain.config.model import Model, Visual
from pretrain.config.root import Config
from pretrain.config.saved import read_saved
from pretrain.config.tasks import TASKS, Batch, Task, TaskOptions
from pretrain.config.training import Checkpoint, Eval, Log, Optimizer, Retrieval

__all__ = [
    'TASKS', 'Batch', 'Checkpoint', 'Config', 'Data', 'Eval', 'FineTune', 'Init', 'Kernels', 'Log', 'Model', 'Optimizer', 'Recovery',
    'Retrieval', 'Task', 'TaskOptions', 'Visual', 'Watchdog', 'differences', 'dump_config', 'flat', 'load_config', 'override',
    'read_saved', 'validated', 'within',
]  # fmt: skip
