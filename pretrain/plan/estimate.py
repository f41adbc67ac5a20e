"""The plan of one rank's step: memory, FLOPs and bytes by task."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from pretrain.config import Config
from pretrain.engine.forwards import TOGETHER
from pretrain.engine.zero import parameter_groups
from pretrain.plan.batches import Shape, planned_batches
from pretrain.plan.memory import Memory, backward, highest, reduction
from pretrain.plan.reduction import Settings
from pretrain.plan.trace import DTYPES, Trace, Tracer, together


@dataclass(frozen=True)
class Estimate:
    """One optimizer step of one rank."""

    parameters: int
    traces: dict[str, Trace]  # by task, as if it had its pictures for itself
    flops: int  # of the matrix products of a step, on average
    memory: Memory  # at the highest moment of all
    moments: dict[str, Memory]  # of the reduction, and of each task's backward, or of all, if together or with shared pictures


def estimate(config: Config, vocabulary: int, world: int, shape: Shape, ds_config: dict[str, Any], gpu: bool) -> Estimate:
    """Trace every task of `config` on a rank of `world`. Where tasks are drawn, FLOPs are those of the mean step, memory is that of the
    step that draws nothing but the task that keeps most."""
    tracer = Tracer(config, vocabulary, gpu)
    data = {str(task): planned_batches(config, task, world, shape) for task in config.tasks}
    traces: dict[str, Trace] = {task: tracer.task(batches, world) for task, batches in data.items()}
    held = together(trace.workspace for trace in traces.values())  # a step's other tasks have it too
    traces = {task: replace(trace, logits=trace.logits + held - sum(trace.workspace.values())) for task, trace in traces.items()}
    ran, flops = traces, sum(trace.flops for trace in traces.values()) * drawn_share(config)
    if config.batch.together or config.mixture.share_images:
        if config.batch.merge == 'drawn':
            heaviest = max(traces, key=lambda task: traces[task].peak)
            ran = {TOGETHER: tracer.step({f'{heaviest}.{number}': data[heaviest] for number in range(draws(config))}, world)}
        else:
            ran = {TOGETHER: tracer.step(data, world)}
            flops = ran[TOGETHER].flops
    moments: dict[str, Memory] = {
        name: backward(tracer.parameters, world, config.precision, trace.activations, trace.logits) for name, trace in ran.items()
    }
    groups = [[parameter.numel() for parameter in group['params']] for group in parameter_groups(tracer.model, config.optimizer)]
    settings = Settings.of(ds_config, DTYPES[config.precision].itemsize)
    moments['reduction'] = reduction(groups, world, settings, together(trace.workspace for trace in ran.values()))
    return Estimate(tracer.parameters, traces, round(flops), highest(list(moments.values())), moments)


def draws(config: Config) -> int:
    """Global batches that an update takes."""
    return config.batch.draws or len(config.tasks)


def drawn_share(config: Config) -> float:
    """How often a task's global batch is in an update: with batch.merge=drawn on average, else once."""
    return draws(config) / len(config.tasks) if config.batch.merge == 'drawn' else 1.0
