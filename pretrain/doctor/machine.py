"""Processors, memory, GPUs, compilers; room and rights on the disks."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import textwrap
from collections.abc import Iterator
from pathlib import Path

from pretrain.config import Config
from pretrain.doctor.finding import FAIL, NOTE, OK, Finding
from pretrain.writable import check_writable, nearest
from shards.errors import UserError

EXTENSION = '#include <Python.h>\n#include <vector>\nint main() { return std::vector<int>{PY_VERSION_HEX}.empty(); }\n'


def machine(config: Config) -> Iterator[Finding]:
    """Processors, memory, GPUs."""
    import torch

    threads = os.environ.get('OMP_NUM_THREADS')
    memory = os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 1e9
    yield Finding('machine', 'processors', OK, f'{len(os.sched_getaffinity(0))} usable, {memory:.0f} GB memory')
    yield Finding(
        'machine', 'OMP_NUM_THREADS', OK if threads else NOTE, threads or 'not set',
        '' if threads else 'export OMP_NUM_THREADS=1: on a CPU results depend on the number of threads',
    )  # fmt: skip
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            card = torch.cuda.get_device_properties(index)
            capable = (card.major, card.minor) >= (8, 0) or config.precision == 'fp32'
            what = f'{card.name}, {card.total_memory / 1e9:.0f} GB, compute capability {card.major}.{card.minor}'
            yield Finding('machine', f'GPU {index}', OK if capable else FAIL, what, '' if capable else 'bf16 needs 8.0: set precision=fp32')
        yield Finding('machine', 'CUDA', OK, f'PyTorch for {torch.version.cuda}, NCCL {".".join(map(str, torch.cuda.nccl.version()))}')
    else:
        remedy = 'on a machine with one: does nvidia-smi see it, and is this a CUDA build of PyTorch?'
        yield Finding('machine', 'GPU', NOTE, 'none that PyTorch can use: the run takes the CPU', remedy)


def compilers(config: Config) -> Iterator[Finding]:
    """What compiles kernels (triton's on a GPU, DeepSpeed's AdamW), tried on a program that includes Python's headers; a run on a CPU with
    other kernels compiles nothing.
    """
    import torch

    lacks = FAIL if torch.cuda.is_available() or config.kernels.optimizer == 'deepspeed' else NOTE
    for tool, why in (('g++', 'apt-get install g++'), ('ninja', 'make setup; put .venv/bin on the path')):
        path = shutil.which(tool, path=f'{Path(sys.executable).parent}:{os.environ.get("PATH", "")}')
        yield Finding('compilers', tool, OK if path else lacks, path or 'not found', '' if path else f'{why}: kernels are compiled with it')
    if shutil.which('g++'):
        words = ['g++', '-x', 'c++', '-fsyntax-only', f'-I{sysconfig.get_paths()["include"]}', '-']
        tried = subprocess.run(words, input=EXTENSION, capture_output=True, text=True, check=False)
        said = next((line for line in tried.stderr.splitlines() if 'error' in line), f'exit code {tried.returncode}')
        remedy = "apt-get install g++ and python3-dev (this Python's headers), or load the cluster's compiler module"
        bad = tried.returncode != 0
        yield Finding(
            'compilers',
            'Python.h',
            lacks if bad else OK,
            textwrap.shorten(said, 160, placeholder=' …') if bad else 'g++ takes it',
            remedy if bad else '',
        )
    nvcc = shutil.which('nvcc')
    remedy = '' if nvcc else 'only kernels.optimizer=deepspeed, and building apex, need it'
    yield Finding('compilers', 'nvcc', OK if nvcc else NOTE, nvcc or 'not found', remedy)


def disk(config: Config) -> Iterator[Finding]:
    """Room for checkpoints in `out`, and for shared memory of loader processes."""
    from pretrain.plan.command import vocabulary_of
    from pretrain.plan.trace import Tracer

    size = 12 * Tracer(config, vocabulary_of(config), gpu=False).parameters
    needed = size * (config.checkpoint.keep + 1)  # one more while the newest is written
    folder = nearest(Path(config.out))
    free = shutil.disk_usage(folder).free
    try:
        check_writable(folder)
    except UserError as error:
        yield Finding('disk', f'out: {folder}', FAIL, 'not writable', str(error))
    enough = free >= needed
    found = f'{free / 1e9:.1f} GB free, {config.checkpoint.keep} checkpoints and one in the making take {needed / 1e9:.1f} GB'
    remedy = '' if enough else 'free some, set out=DIR, or lower checkpoint.keep'
    yield Finding('disk', f'out: {folder}', OK if enough else FAIL, found, remedy)
    if Path('/dev/shm').is_dir():
        free = shutil.disk_usage('/dev/shm').free
        side = config.model.visual.image_size
        samples = sum(config.batch.size(task) for task in config.tasks if task not in ('clcl', 'mt', 'plm'))
        step = samples * 3 * side * side  # of all ranks of a machine, if it holds the whole run
        enough = free > step or not config.data.workers
        found = f'{free / 1e9:.1f} GB free, a step of the whole run on this machine takes {step / 1e9:.1f} GB'
        remedy = '' if enough else 'with several machines each holds its share; else mount /dev/shm larger or set data.prefetch=1'
        yield Finding('disk', '/dev/shm', OK if enough else NOTE, found, remedy)
