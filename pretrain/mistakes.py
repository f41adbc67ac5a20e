"""Several processes meet the user's mistake, and one says it."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pretrain.terminal import clear
from shards.errors import UserError

OTHERS = 30.0  # seconds until the first process of a machine, however busy that is, has met what this one has


def said_once(main: Callable[[], int]) -> int:
    """`main`, whose UserError of this process is raised only if it is the one to say it. Returns the exit code."""
    try:
        return main()
    except UserError as error:
        if _first_to_say():
            clear()  # the line that is printed of it stands by itself
            raise
        return error.code


@contextmanager
def memory_told() -> Iterator[None]:
    """A GPU that is too small ends in a line with a remedy, in place of a stack trace."""
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        why = str(error).partition('. Of the allocated')[0]
        raise UserError(f'{socket.gethostname()}: {why}; lower batch.micro, or set model.recompute=true') from None


def _first_to_say() -> bool:
    """Whether this process is the one that reports: all may meet the same mistake, or one alone (a broken shard that only it reads)."""
    distributed = sys.modules.get('torch.distributed')
    if distributed is None or not distributed.is_initialized():  # the processes do not know of each other yet: one on each machine
        if int(os.environ.get('LOCAL_RANK', os.environ.get('SLURM_LOCALID', '0'))) > 0:
            # A launcher ends all when one has ended, so this one must not be first. If it is still here after that, it alone has met this.
            time.sleep(OTHERS)
        return True
    try:
        return bool(distributed.distributed_c10d._get_default_store().add('mistakes', 1) == 1)
    except RuntimeError:  # the store ended with the process that held it, which had the same to say
        return False
