"""`pretrain doctor`: is everything here that a run needs? One table; every failure with its remedy."""
from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from pretrain.config import Config
from shards.errors import UserError

OK, NOTE, FAIL = 'ok', 'note', 'FAIL'  # a note: something is not there, and the run goes on without it
ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Finding:
    """A line of the table."""

    group: str
    what: str
    state: str
    found: str
    remedy: str = ''


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add('--config', metavar='YAML', default=str(ROOT / 'configs/paper.yaml'), help='the run to check for; default: configs/paper.yaml')
    add('--json', action='store_true', help='print the findings as JSON')
    add('settings', nargs='*', metavar='key=value', help='settings that replace those of the configuration')


def run(options: argparse.Namespace) -> int:
    """Print the table. Returns 1 when something fails."""
    from pretrain.config import load_config

    findings = diagnose(load_config(options.config, options.settings))
    if options.json:
        import json

        print(json.dumps([asdict(finding) for finding in findings], indent=1))
    else:
        print(render(findings))
    return 1 if any(finding.state == FAIL for finding in findings) else 0


def diagnose(config: Config) -> list[Finding]:
    """Every check, in the order of the table. A check that breaks is a failure of its own, not the end of the others."""
    checks: list[tuple[str, Callable[[Config], Iterator[Finding]]]] = [
        ('versions', versions), ('machine', machine), ('kernels', fused), ('launch', launch), ('disk', disk), ('data', data),
    ]  # fmt: skip
    findings: list[Finding] = []
    for group, check in checks:
        try:
            findings += check(config)
        except Exception as error:
            said = ' '.join(f'{type(error).__name__}: {error}'.split())
            findings.append(Finding(group, 'check', FAIL, said, 'this check itself failed: please report it with this line'))
    return findings


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


def machine(config: Config) -> Iterator[Finding]:
    """Processors, memory, GPUs, compilers."""
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
    for tool, why in (('g++', 'apt-get install g++'), ('ninja', 'make setup; put .venv/bin on the path')):
        path = shutil.which(tool, path=f'{Path(sys.executable).parent}:{os.environ.get("PATH", "")}')
        yield Finding('machine', tool, OK if path else FAIL, path or 'not found', '' if path else f'{why}: DeepSpeed compiles with it')
    nvcc = shutil.which('nvcc')
    remedy = '' if nvcc else 'only kernels.optimizer=deepspeed, and building apex, need it'
    yield Finding('machine', 'nvcc', OK if nvcc else NOTE, nvcc or 'not found', remedy)


def fused(config: Config) -> Iterator[Finding]:
    """Which kernels there are, and which will be used."""
    from pretrain.engine import optimizers
    from pretrain.engine.zero import local_device
    from pretrain.kernels import OPERATIONS
    from pretrain.kernels.registry import Place, choose

    os.environ.setdefault('LOCAL_RANK', '0')
    place = Place(local_device(), config.precision)
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


def launch(config: Config) -> Iterator[Finding]:
    """DeepSpeed's launcher, and Slurm."""
    for tool in ('deepspeed', 'torchrun'):
        path = Path(sys.executable).parent / tool
        there = path.is_file()
        yield Finding('launch', tool, OK if there else FAIL, str(path) if there else 'not found', '' if there else 'make setup')
    if shutil.which('sinfo') is None:
        yield Finding('launch', 'Slurm', NOTE, 'not on this machine: start with `deepspeed` or `torchrun`')
        return
    try:
        asked = subprocess.run(['sinfo', '--noheader', '--format=%P %D %T %G'], capture_output=True, text=True, check=False, timeout=20)
    except subprocess.TimeoutExpired:
        asked = None
    if asked is None or asked.returncode:
        why = 'no answer in 20 s' if asked is None else ' '.join(asked.stderr.split()) or f'exit code {asked.returncode}'
        inside = 'SLURM_JOB_ID' in os.environ  # elsewhere one may do without
        yield Finding('launch', 'Slurm', FAIL if inside else NOTE, why[:120], 'does slurmctld run, and munge? ask the administrator')
    else:
        yield Finding('launch', 'Slurm', OK, '; '.join(asked.stdout.split('\n')[:4]).strip('; ') or 'no partitions')


def disk(config: Config) -> Iterator[Finding]:
    """Room for checkpoints in `out`, for decompressed shards, and for shared memory of loader processes."""
    from pretrain.plan.command import vocabulary_of
    from pretrain.plan.trace import Tracer

    size = 12 * Tracer(config, vocabulary_of(config), gpu=False).parameters
    needed = size * (config.checkpoint.keep + 1)  # one more while the newest is written
    folder = _existing(Path(config.out))
    free, writable = shutil.disk_usage(folder).free, os.access(folder, os.W_OK)
    if not writable:
        yield Finding('disk', f'out: {folder}', FAIL, 'not writable', 'set out=DIR')
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


def data(config: Config) -> Iterator[Finding]:
    """Tokenizer and shards, as the run itself checks them before it starts."""
    from pretrain.data.order import check_data
    from shards.tokenizer import Tokenizer

    try:
        tokenizer = Tokenizer.load(Path(config.data.tokenizer), config.model.family)
    except UserError as error:
        yield Finding('data', f'tokenizer: {config.data.tokenizer}', FAIL, 'cannot be used', str(error))
        return
    found = f'{tokenizer.vocabulary:,} ids, fingerprint {tokenizer.fingerprint[:12]}'
    yield Finding('data', f'tokenizer: {config.data.tokenizer}', OK, found)
    try:
        streams = check_data(config, tokenizer)
    except UserError as error:
        yield Finding('data', f'shards: {config.data.shards}', FAIL, 'do not fit the run', str(error))
        return
    found = f'{len(streams)} streams fit the run; `data_pipeline verify` reads every sample'
    yield Finding('data', f'shards: {config.data.shards}', OK, found)


def render(findings: list[Finding]) -> str:
    """The table, and how many failed."""
    width = max(len(finding.what) for finding in findings)
    lines: list[str] = []
    group = ''
    for finding in findings:
        if finding.group != group:
            group = finding.group
            lines += ['', group] if lines else [group]
        lines.append(f'  {finding.state:4s}  {finding.what:{width}s}  {finding.found}')
        if finding.remedy:
            lines.append(f'        {"":{width}s}  -> {finding.remedy}')
    failures = sum(finding.state == FAIL for finding in findings)
    lines += ['', f'{failures} of {len(findings)} checks failed' if failures else f'all {len(findings)} checks passed or are no obstacle']
    return '\n'.join(lines)


def _existing(path: Path) -> Path:
    """The nearest folder of a path that is there."""
    path = path.absolute()
    return path if path.is_dir() else _existing(path.parent)
