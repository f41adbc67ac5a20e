"""Run a function in several gloo processes, as a launcher would, and collect what rank 0 returns."""
from __future__ import annotations

import os
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return str(probe.getsockname()[1])


def run_distributed(function: Callable[..., Any], world: int, folder: Path, *arguments: Any) -> Any:
    """`function(*arguments)` in `world` fresh processes with torch.distributed's environment set; rank 0's tensors come back in a file."""
    result = folder / 'result.pt'
    result.unlink(missing_ok=True)
    torch.multiprocessing.start_processes(_entry, (world, free_port(), function, result, arguments), nprocs=world, start_method='spawn')
    return torch.load(result, weights_only=True)


def _entry(rank: int, world: int, port: str, function: Callable[..., Any], result: Path, arguments: tuple[Any, ...]) -> None:
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world), MASTER_ADDR='127.0.0.1', MASTER_PORT=port)
    os.environ['DS_ACCELERATOR'] = 'cpu'
    torch.set_num_threads(1)
    try:
        value = function(*arguments)
    except BaseException:
        traceback.print_exc(file=sys.stderr)
        raise
    if rank == 0:
        torch.save(value, result)
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
