"""The plan of one rank's step: memory, FLOPs and bytes by task."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from pretrain.config import Config
from pretrain.engine.forwards import TOGETHER
from pretrain.plan.batches import Shape, planned_batches
from pretrain.plan.memory import Memory, backward, highest, reduction
from pretrain.plan.trace import Trace, Tracer


@dataclass(frozen=True)
class Estimate:
    """One optimizer step of one rank."""

    parameters: int
    traces: dict[str, Trace]  # by task, as if it had its pictures for itself
    flops: int  # of the matrix products of the step
    memory: Memory  # at the highest moment of all
    moments: dict[str, Memory]  # of the reduction, and of each task's backward, or of all, if together or with shared pictures


def estimate(config: Config, vocabulary: int, world: int, shape: Shape, ds_config: dict[str, Any], gpu: bool) -> Estimate:
    """Trace every task of `config` on a rank of `world`."""
    tracer = Tracer(config, vocabulary, gpu)
    data = {str(task): planned_batches(config, task, world, shape) for task in config.tasks}
    traces: dict[str, Trace] = {task: tracer.task(batches, world) for task, batches in data.items()}
    held = max(trace.workspace for trace in traces.values())  # a step's other tasks have it too
    traces = {task: replace(trace, logits=trace.logits + held - trace.workspace) for task, trace in traces.items()}
    ran = {TOGETHER: tracer.step(data, world)} if config.batch.together or config.mixture.share_images else traces
    largest = max(parameter.numel() for parameter in tracer.model.parameters())
    moments: dict[str, Memory] = {
        name: backward(tracer.parameters, world, config.precision, trace.activations, trace.logits) for name, trace in ran.items()
    }
    moments['reduction'] = reduction(tracer.parameters, largest, world, config.precision, ds_config)
    flops = sum(trace.flops for trace in ran.values())
    return Estimate(tracer.parameters, traces, flops, highest(list(moments.values())), moments)
