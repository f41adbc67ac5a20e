"""How a process joins the others: DeepSpeed's import, the group of all ranks, and this one's device."""

from __future__ import annotations

import logging
import os
import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch

from pretrain.engine.network import choose_gloo_interface, master_address, prepare_nccl
from pretrain.ports import free_port
from shards.errors import UserError

# DeepSpeed's autotuner imports mlflow, which would tell its makers of every start, and leave a file in HOME.
os.environ.setdefault('MLFLOW_DISABLE_TELEMETRY', 'true')
SLACK = timedelta(minutes=5)  # for the watchdog's own words, after `hang` seconds


def init_distributed(hang: float | None = None, flight: Path | None = None) -> None:
    """Join the job of the launcher (deepspeed, torchrun, srun), or be a job of one process.

    `hang`: after so many seconds the run's watchdog ends it, and names the rank that is to blame. A collective must wait for longer: its
    time-out ends the process, and knows no name. DEEPSPEED_TIMEOUT (minutes) may say more. `flight`: folder for NCCL's flight records.
    Raises UserError when the port is taken.
    """
    deepspeed = import_deepspeed()
    if flight is not None and accelerator_name() == 'cuda':
        prepare_nccl(flight)
    os.environ.setdefault('MASTER_ADDR', master_address())
    choose_gloo_interface(os.environ['MASTER_ADDR'])
    os.environ.setdefault('MASTER_PORT', '29500' if 'SLURM_JOB_ID' in os.environ else '0')
    for name, slurm in (('RANK', 'SLURM_PROCID'), ('WORLD_SIZE', 'SLURM_NTASKS'), ('LOCAL_RANK', 'SLURM_LOCALID')):
        os.environ.setdefault(name, os.environ.get(slurm, '1' if name == 'WORLD_SIZE' else '0'))
    if os.environ['MASTER_PORT'] == '0':
        os.environ['MASTER_PORT'] = str(free_port())
    try:
        deepspeed.init_distributed(auto_mpi_discovery=False, verbose=False, timeout=_timeout(hang))
    except torch.distributed.DistNetworkError as error:
        port = os.environ['MASTER_PORT']
        if 'EADDRINUSE' not in str(error):
            raise
        raise UserError(
            f'port {port}, where the processes meet, is taken on this machine, perhaps by another run; choose one for this run: '
            f'deepspeed --master_port {int(port) + 1} …, torchrun --master_port {int(port) + 1} …, or MASTER_PORT={int(port) + 1} for srun'
        ) from None


def _timeout(hang: float | None) -> timedelta:
    from deepspeed.constants import default_pg_timeout  # DEEPSPEED_TIMEOUT

    default: timedelta = default_pg_timeout
    return default if hang is None else max(default, timedelta(seconds=hang) + SLACK)


def cpu_group(timeout: timedelta) -> torch.distributed.ProcessGroup:
    """Another group of all ranks, over gloo between their CPUs: a thread of its own may use it beside the training."""
    group = torch.distributed.new_group(backend='gloo', timeout=timeout)
    assert isinstance(group, torch.distributed.ProcessGroup)
    return group


def launched_world() -> int:
    """Number of processes that the launcher started, known before they join."""
    return int(os.environ.get('WORLD_SIZE') or os.environ.get('SLURM_NTASKS') or 1)


def accelerator_name() -> str:
    """'cuda' or 'cpu'."""
    import_deepspeed()
    from deepspeed.accelerator import get_accelerator

    return str(get_accelerator().device_name())


def local_device() -> torch.device:
    """The device of this process."""
    import_deepspeed()
    from deepspeed.accelerator import get_accelerator

    accelerator = get_accelerator()
    if accelerator.device_name() == 'cpu':
        return torch.device('cpu')
    local = int(os.environ['LOCAL_RANK'])
    accelerator.set_device(local)
    return torch.device(accelerator.device_name(local))


def import_deepspeed() -> Any:
    """Import DeepSpeed, quietly, and without the shared-memory kernel that it would compile on a CPU for an operation that
    training never calls."""
    os.environ.setdefault('DS_ACCELERATOR', 'cuda' if torch.cuda.is_available() else 'cpu')
    # DeepSpeed calls collectives by names that torch has for old.
    warnings.filterwarnings('ignore', r'`torch\.distributed\.\w+` is deprecated', FutureWarning)
    import deepspeed
    from deepspeed.runtime import compiler

    # Muon, which `initialize` imports and we do not use, is compiled when imported; that alone imports torch's compiler, for a second.
    compiler.compile = lambda: compiler.dummy_decorator
    if os.environ['DS_ACCELERATOR'] == 'cpu':
        deepspeed.ops.__compatible_ops__['deepspeed_shm_comm'] = False
    logging.getLogger('DeepSpeed').setLevel(logging.WARNING)
    return deepspeed
