"""What a run runs on, and by which code: versions, commit, command, machine. Saved beside it and in every checkpoint."""

from __future__ import annotations

import os
import platform
import socket
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

VARIABLES = ('CUDA_', 'NCCL_', 'OMP_', 'TORCH_NCCL_')  # what begins so changes results or speed
ROOT = Path(__file__).resolve().parents[2]
PACKAGES = (
    'ernie-unix2', 'torch', 'deepspeed', 'timm', 'transformers', 'triton', 'apex', 'flash-attn', 'liger-kernel', 'mosaicml-streaming',
    'numpy', 'torchvision', 'pydantic', 'sentencepiece', 'safetensors',
)  # fmt: skip


def environment() -> dict[str, Any]:
    """Of this process, for JSON: `commit`, `command`, `python`, a version for each package that is here, `machine`, `host`, `cpus`, `gpu`,
    `cuda`, `job`, and the variables of CUDA, NCCL and OpenMP that are set.
    """
    out: dict[str, Any] = {'commit': commit(), 'command': sys.argv, 'python': platform.python_version()}
    for package in PACKAGES:
        try:
            out[package] = version(package)
        except PackageNotFoundError:
            pass
    out |= {'machine': platform.platform(), 'host': socket.gethostname(), 'cpus': len(os.sched_getaffinity(0))}
    if torch.cuda.is_available():
        out |= {'gpu': torch.cuda.get_device_name(), 'gpus_of_host': torch.cuda.device_count(), 'cuda': torch.version.cuda}
    out |= {name: value for name, value in sorted(os.environ.items()) if name.startswith(VARIABLES)}
    if job := os.environ.get('SLURM_JOB_ID'):
        out['job'] = job
    return out


@cache  # of the code that this process has loaded; a checkout later is not that
def commit() -> str | None:
    """The commit of the code, with `-dirty` behind it where tracked files differ; none where this is no clone, or git is not here."""
    try:
        words = ['git', '-C', str(ROOT), 'describe', '--always', '--dirty', '--abbrev=40', '--exclude=*']
        asked = subprocess.run(words, capture_output=True, text=True, check=False, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return asked.stdout.strip() or None
