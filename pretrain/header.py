"""What a run is, in a few lines, before its first step; a dry run ends with most of them."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import torch.distributed as dist

from pretrain.boards.mlflow_run import shown
from pretrain.config import Config
from pretrain.engine.zero import Engine
from pretrain.workload import Workload


def header(workload: Workload, engine: Engine, manifests: dict[str, str], done: int, peak: float | None) -> str:
    """The lines that stand above those of the steps. `done` updates were made before; `peak`: FLOP/s of all ranks, of which utilisation is
    a share. All ranks together.
    """
    config = workload.config
    start = f'goes on after step {done}' if done else 'a new run'
    lines = {
        'run': f'{config.out}: {config.steps:,} steps; {start}',
        **told(workload, engine, manifests),
        'utilisation': _peak(config, engine, peak),
        'watch': ' or '.join(_watched(config)),
    }
    return in_lines(lines)


def in_lines(told: dict[str, str]) -> str:
    """A line for each, in columns."""
    return '\n'.join(f'  {name:11s}  {value}' for name, value in told.items())


def told(workload: Workload, engine: Engine, manifests: dict[str, str]) -> dict[str, str]:
    """Model, tasks, processes, data and kernels. All ranks together."""
    config, model = workload.config, workload.config.model
    hosts: list[str] = [''] * engine.world
    dist.all_gather_object(hosts, socket.gethostname())
    machines = len(set(hosts))
    layers = f'layers text {model.text_layers}, cross {model.cross_layers}, decoder {model.decoder_layers}, width {model.dim}'
    visual = f'{model.visual.name} at {model.visual.image_size} pixels'
    micro = f'micro-batches of {config.batch.micro}' + (', all tasks together' if config.batch.together else '')
    drawn = '' if config.batch.merge == 'all' else f', of which a step draws {config.batch.draws or len(config.tasks)}'
    return {
        'processes': f'{engine.world} on {machines} machine{"s" if machines > 1 else ""}, {engine.device.type}',
        'model': f'{sum(engine.group_sizes):,} parameters, {config.precision}; {layers}; {visual}',
        'tasks': '  '.join(f'{task} {config.batch.size(task)}' for task in config.tasks) + f'  samples a step{drawn}; {micro}',
        'data': f'{workload.amount(manifests)}; tokenizer of {workload.tokenizer.vocabulary:,} ids',
        'kernels': ' '.join(f'{operation}={backend}' for operation, backend in engine.kernels.items()),
    }


def _watched(config: Config) -> Iterator[str]:
    """Places; a tracker's own line, which comes when it is open, has the address of the run there."""
    if config.log.tensorboard:
        yield f'tensorboard --logdir {config.out}'
    if config.log.wandb is not None:
        yield f'project {config.log.wandb} of Weights & Biases'
    if config.log.mlflow is not None:
        yield f'MLflow in {shown(config.log.mlflow)}'
    yield f'pretrain report {config.out}'


def _peak(config: Config, engine: Engine, peak: float | None) -> str:
    if peak is None:
        return "not shown: this GPU's peak is not known here; set log.peak_tflops"
    if config.log.peak_tflops is not None:
        how = 'log.peak_tflops'
    else:
        how = "by the GPU's name" if engine.device.type == 'cuda' else 'of a matrix product, measured just now'
    each = peak / engine.world / 1e12
    return f'relative to {each:.3g} TFLOP/s a process ({how})'
