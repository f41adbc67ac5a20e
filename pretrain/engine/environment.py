"""What a run runs on: versions, machine, processors. Saved beside it and in every checkpoint."""
from __future__ import annotations

import os
import platform
import socket
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

PACKAGES = ('torch', 'deepspeed', 'timm', 'transformers', 'triton', 'apex', 'flash-attn', 'liger-kernel', 'mosaicml-streaming', 'numpy')


def environment() -> dict[str, Any]:
    """Of this process, for JSON: `python`, a version for each package that is here, `machine`, `host`, `cpus`, `gpu`, `cuda`, `job`."""
    out: dict[str, Any] = {'python': platform.python_version()}
    for package in PACKAGES:
        try:
            out[package] = version(package)
        except PackageNotFoundError:
            pass
    out |= {'machine': platform.platform(), 'host': socket.gethostname(), 'cpus': len(os.sched_getaffinity(0))}
    if torch.cuda.is_available():
        out |= {'gpu': torch.cuda.get_device_name(), 'gpus_of_host': torch.cuda.device_count(), 'cuda': torch.version.cuda}
    if threads := os.environ.get('OMP_NUM_THREADS'):
        out['OMP_NUM_THREADS'] = threads
    if job := os.environ.get('SLURM_JOB_ID'):
        out['job'] = job
    return out
