"""Several processes meet the user's mistake, and one says it."""
from __future__ import annotations

import os
import sys
from collections.abc import Callable

from shards.errors import UserError


def said_once(main: Callable[[], int]) -> int:
    """`main`, whose UserError of this process is raised only if it is the one to say it. Returns the exit code."""
    try:
        return main()
    except UserError as error:
        if _first_to_say():
            raise
        return error.code


def _first_to_say() -> bool:
    """Whether this process is the one that reports: all may meet the same mistake, or one alone (a broken shard that only it reads)."""
    distributed = sys.modules.get('torch.distributed')
    if distributed is None or not distributed.is_initialized():  # the processes do not know of each other yet: one on each machine
        return int(os.environ.get('LOCAL_RANK', os.environ.get('SLURM_LOCALID', '0'))) == 0
    try:
        return bool(distributed.distributed_c10d._get_default_store().add('mistakes', 1) == 1)
    except RuntimeError:  # the store ended with the process that held it, which had the same to say
        return False
