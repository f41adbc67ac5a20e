"""Everything of a run but its first optimizer step, on every rank: what a start would meet, without a start.

Nothing is written to `out`: no lock, record or checkpoint, so a real run after it is the run that it would have been.
"""

from __future__ import annotations

import math
import os
import resource
import shutil
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from signal import Signals

import torch
import torch.distributed as dist

from pretrain.config import Config
from pretrain.engine.checkpoint import checkpoints, load_checkpoint, newest_valid, step_of
from pretrain.engine.control import MISTAKE, Control
from pretrain.engine.distributed import init_distributed, local_device
from pretrain.engine.host import attention_kernel, keep_memory
from pretrain.engine.recovery import Recovery
from pretrain.engine.resume import check_resumable, from_rank_0
from pretrain.engine.saver import Saver
from pretrain.engine.schedule import learning_rate
from pretrain.engine.step import train_step
from pretrain.engine.zero import Engine
from pretrain.header import in_lines, told
from pretrain.model.folder import CHECKPOINTS
from pretrain.preflight import check_run
from pretrain.terminal import say
from pretrain.trainer import make_engine
from pretrain.workload import Workload
from pretrain.writable import check_writable
from shards.errors import UserError

NO_STEP = 'a dry run makes no update'


@dataclass(frozen=True)
class Start:
    """Where the run would begin."""

    step: int
    words: str
    skip: list[list[int]]


def dry_run(workload: Workload, ds_config: str | None) -> int:
    """Returns the exit code: 0, MISTAKE when some rank met one (rank 0 has said it), 128 + the signal that asked it to stop. Raises
    UserError for a mistake that all ranks meet.
    """
    config, out = workload.config, Path(workload.config.out)
    manifests = check_run(workload, ds_config)
    weights = None if checkpoints(out / CHECKPOINTS) else workload.weights()
    init_distributed(config.watchdog.hang)
    keep_memory(local_device())
    control = Control(config.watchdog, local_device(), say, lambda verdict: None)
    with control:
        engine = make_engine(workload, weights, ds_config)
        start = _start(workload, engine, control, manifests)
        saver = Saver(engine, out / CHECKPOINTS, config, manifests)  # its copies are part of the memory that a run takes
        found = told(workload, engine, manifests)
        found['model'] += f'; {start.words}'
        with attention_kernel(engine.device):
            steps = _steps(workload, engine, control, start)
        del saver
        if not control.stopping:
            found['evaluation'] = _try(control, 'the evaluation data', lambda: workload.open_evaluation(engine.rank, engine.world))
        if not control.stopping:
            began = time.perf_counter()
            tried = _try(control, 'an evaluation of a few samples', lambda: workload.try_evaluation(engine, control))
            found['evaluated'] = f'{tried}  ({time.perf_counter() - began:.1f} s)'
        if not control.stopping:
            found['checkpoints'] = _try(control, 'writing to the folder of checkpoints', lambda: _room(out / CHECKPOINTS, engine))
    return _end(config, engine, control, {**found, **steps, 'memory': _memory(engine)})


def _start(workload: Workload, engine: Engine, control: Control, manifests: dict[str, str]) -> Start:
    """Load the newest valid checkpoint, as the run would, but leave its folder as it is."""
    config = workload.config
    folder = Path(config.out) / CHECKPOINTS
    control.beat('checking the checkpoints')
    path, problems = from_rank_0(lambda: newest_valid(folder))
    for problem in problems if engine.rank == 0 else ():
        say(f'a damaged checkpoint will be skipped: {problem}')
    if path is None:
        return Start(0, 'a new run', [])
    control.beat(f'loading {path}')
    trained_on = check_resumable(config, path, workload.tokenizer.fingerprint)
    removal = workload.check_same_data(trained_on, manifests, path)
    recovery = Recovery(config.recovery)
    recovery.load(load_checkpoint(engine, path).get('recovery', {}))
    words = f'goes on after step {step_of(path)} of {config.steps}' + (f'; {removal}' if removal else '')
    return Start(step_of(path), words, [[*window] for window in recovery.skip])


def _steps(workload: Workload, engine: Engine, control: Control, start: Start) -> dict[str, str]:
    """Data, forward and backward of the steps that it takes until every task has had its turn: one, but for batch.merge=drawn."""
    config, losses = workload.config, dict[str, float]()
    last, data_seconds, began = start.step, 0.0, time.perf_counter()
    with workload.loader(engine.rank, engine.world, start.step, start.skip, control.tell) as loader:
        batches = iter(loader)
        while last < config.steps and not set(config.tasks) <= losses.keys():
            asked = time.perf_counter()
            control.begin(f'the data of step {last + 1}')
            try:
                data = next(batches)[1]
            except UserError as error:
                control.fail(str(error))
                data = {}
            data_seconds += time.perf_counter() - asked
            if control.point(f'step {last + 1}'):
                return {}
            rate = learning_rate(config.optimizer, last, config.steps)
            result = train_step(engine, config, data, last, rate, lambda losses: NO_STEP, _pointed(control, last))
            if result is None:
                return {}
            if bad := [task for task, loss in result.losses.items() if not math.isfinite(loss)]:
                what = f'the loss of {" ".join(bad)} is not finite at step {last + 1}'
                control.fail(f'{what}; look at the initial weights (init), precision, and the data')
                control.point('the losses')
                return {}
            losses |= result.losses
            last += 1
    if last == start.step:
        return {'steps': f'none is left: the run has all its {config.steps}'}
    which = f'step {last}' if last == start.step + 1 else f'steps {start.step + 1} to {last}'
    took = f'data {data_seconds:.1f} s, all {time.perf_counter() - began:.1f} s'
    return {'losses': '  '.join(f'{task} {loss:.3f}' for task, loss in losses.items()), 'time': f'forward and backward of {which}: {took}'}


def _pointed(control: Control, step: int) -> Callable[[str, bool], bool]:
    return lambda doing, alone: control.point(f'{doing} of step {step + 1}', alone)


def _try(control: Control, doing: str, work: Callable[[], str]) -> str:
    """What `work` says; a UserError that it raises on some rank stops all."""
    said = ''
    control.begin(doing)
    try:
        said = work()
    except UserError as error:
        control.fail(str(error))
    control.point(doing)
    return said


def _room(folder: Path, engine: Engine) -> str:
    """Write to the folder where checkpoints will be, or to the nearest that is there, and take it away. Raises UserError."""
    try:
        place = check_writable(folder)
    except UserError as error:
        raise UserError(f'rank {engine.rank} on {socket.gethostname()}: {error}') from None
    needed, free = 12 * sum(engine.group_sizes), shutil.disk_usage(place).free  # fp32 weights and AdamW's two moments
    if free < needed:
        what = f'{place} has {free / 1e9:.1f} GB free, a checkpoint takes {needed / 1e9:.1f} GB'
        raise UserError(f'{what}; make room, or choose another `out`')
    return f'{folder} can be written; {free / 1e9:.1f} GB free, one takes {needed / 1e9:.3f} GB'


def _memory(engine: Engine) -> str:
    """The largest of all ranks; AdamW's moments, which the first step makes, are added."""
    on_cuda = engine.device.type == 'cuda'
    moments = 8 * sum(piece.master.numel() for piece in engine.slices() if not piece.moments)
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 + (0 if on_cuda else moments)
    on_gpu = torch.cuda.max_memory_allocated() + moments if on_cuda else 0
    largest = torch.tensor([resident, on_gpu], device=engine.device)
    dist.all_reduce(largest, dist.ReduceOp.MAX)
    host, gpu = largest.tolist()
    total = os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
    said = f'at most {host / 1e9:.2f} GB a process at its peak, without loader processes; this machine has {total / 1e9:.0f} GB'
    if gpu:
        said += f'; {gpu / 1e9:.1f} of {torch.cuda.get_device_properties(engine.device).total_memory / 1e9:.0f} GB of a GPU'
    return said


def _end(config: Config, engine: Engine, control: Control, found: dict[str, str]) -> int:
    if engine.rank == 0:
        if control.stopping == MISTAKE:
            say(f'error: {control.mistake}')
        elif control.stopping:
            say(f'dry run stopped by {Signals(control.stopping - 128).name}')
        else:
            done = f'dry run: this run can start; no step was made, nothing was written to {config.out}'
            say(f'{in_lines(found)}\n{done}')
    dist.barrier()
    dist.destroy_process_group()
    return control.stopping
