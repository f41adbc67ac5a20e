"""Versions, fused kernels, launchers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from pretrain.config import Config
from pretrain.doctor.finding import FAIL, NOTE, OK, Finding
from pretrain.ports import taken
from shards.errors import UserError

PORT = 29500  # where the processes meet unless the launcher, or MASTER_PORT, says otherwise


def versions(config: Config) -> Iterator[Finding]:
    """Python and every direct dependency against pyproject.toml's bounds."""
    from packaging.requirements import Requirement

    python = sys.version.split()[0]
    fits = (3, 11) <= sys.version_info[:2] <= (3, 13)
    yield Finding('versions', 'python', OK if fits else FAIL, python, '' if fits else 'make the environment with Python 3.11 to 3.13')
    for line in requires('ernie-unix2') or []:
        requirement = Requirement(line)
        if requirement.marker and not requirement.marker.evaluate({'extra': ''}):
            continue
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            state = NOTE if requirement.name == 'triton' else FAIL  # CPU_ONLY=1 leaves it out
            yield Finding('versions', requirement.name, state, 'not installed', 'make setup' if state == FAIL else '')
            continue
        fits = requirement.specifier.contains(found, prereleases=True)
        yield Finding('versions', requirement.name, OK if fits else FAIL, found, '' if fits else f'make setup: {requirement} is needed')


def fused(config: Config) -> Iterator[Finding]:
    """Which kernels there are, and which will be used."""
    from pretrain.engine import optimizers
    from pretrain.engine.distributed import local_device
    from pretrain.kernels import OPERATIONS
    from pretrain.kernels.registry import Place, choose

    os.environ.setdefault('LOCAL_RANK', '0')
    place = Place(local_device(), config.precision, config.model.dim // config.model.heads)
    for operation, backends in {**OPERATIONS, 'optimizer': optimizers.BACKENDS}.items():
        asked = getattr(config.kernels, operation)
        try:
            used = choose(operation, backends, asked, place).name
        except UserError as error:
            yield Finding('kernels', operation, FAIL, f'{asked} is asked for', str(error))
            used = ''
        for backend in backends:
            lacking = backend.lacks(place)
            state = OK if lacking is None else NOTE
            found = 'WILL BE USED' if backend.name == used else 'available' if lacking is None else f'not here: {lacking}'
            yield Finding('kernels', f'{operation} by {backend.name}', state, found)


def trackers(config: Config) -> Iterator[Finding]:
    """The packages of the trackers that the run asks for."""
    from pretrain.boards.opened import check_boards

    try:
        check_boards(config)
    except UserError as error:
        yield Finding('versions', 'log', FAIL, 'a tracker is not here', str(error))


def deepspeed_json(config: Config, path: str | None) -> Iterator[Finding]:
    """DeepSpeed's configuration, as the run itself checks it before it starts; the number of processes is not known here."""
    from pretrain.engine.ds_config import DEFAULT, resolve_ds_config

    name = Path(path or DEFAULT).name
    try:
        stage = resolve_ds_config(path, config, None, 'cpu')['zero_optimization']['stage']
    except UserError as error:
        yield Finding('DeepSpeed', name, FAIL, 'cannot be used', str(error))
        return
    yield Finding('DeepSpeed', name, OK, f'ZeRO-{stage}, and fits the configuration')


def launch(config: Config) -> Iterator[Finding]:
    """DeepSpeed's launcher, and Slurm."""
    for tool in ('deepspeed', 'torchrun'):
        path = Path(sys.executable).parent / tool
        there = path.is_file()
        yield Finding('launch', tool, OK if there else FAIL, str(path) if there else 'not found', '' if there else 'make setup')
    yield _port()
    if shutil.which('sinfo') is None:
        yield Finding('launch', 'Slurm', NOTE, 'not on this machine: start with `deepspeed` or `torchrun`')
        return
    try:
        asked = subprocess.run(['sinfo', '--noheader', '--format=%P %D %T %G'], capture_output=True, text=True, check=False, timeout=20)
    except subprocess.TimeoutExpired:
        asked = None
    if asked is None or asked.returncode:
        # Of several lines the last says what it ended with; those before it are what else was tried.
        why = 'no answer in 20 s' if asked is None else (asked.stderr.strip() or f'exit code {asked.returncode}').splitlines()[-1]
        inside = 'SLURM_JOB_ID' in os.environ  # elsewhere one may do without
        yield Finding(
            'launch',
            'Slurm',
            FAIL if inside else NOTE,
            textwrap.shorten(why, 300, placeholder=' …'),
            'does slurmctld run, and munge? ask the administrator',
        )
    else:
        yield Finding('launch', 'Slurm', OK, '; '.join(asked.stdout.split('\n')[:4]).strip('; ') or 'no partitions')


def _port() -> Finding:
    """Where the launchers' processes meet on this machine."""
    given = os.environ.get('MASTER_PORT') or str(PORT)
    if not (given.isascii() and given.isdigit() and 0 < int(given) < 65536):
        return Finding(
            'launch', 'port', FAIL, f'the variable MASTER_PORT is {given!r}', 'unset MASTER_PORT, or set it to a number from 1 to 65535'
        )
    port = int(given)
    if error := taken(port):
        remedy = f'deepspeed --master_port {port + 1} …, torchrun --master_port {port + 1} …, or MASTER_PORT={port + 1} for srun'
        return Finding('launch', f'port {port}', NOTE, f'taken, perhaps by another run ({error.strerror})', remedy)
    return Finding('launch', f'port {port}', OK, 'free for the processes to meet')
