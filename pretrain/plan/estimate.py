"""The plan of one rank's step: memory, FLOPs and bytes by task."""
from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from pretrain.config import Config
from pretrain.plan.batches import Shape, planned_batches
from pretrain.plan.memory import Memory, backward, highest, reduction
from pretrain.plan.trace import Trace, Tracer


@dataclass(frozen=True)
class Estimate:
    """One optimizer step of one rank."""

    parameters: int
    traces: dict[str, Trace]  # by task
    memory: Memory  # at the highest moment of all
    moments: dict[str, Memory]  # of the reduction, and of each task's backward

    @property
    def flops(self) -> int:
        """Of the matrix products of all tasks."""
        return sum(trace.flops for trace in self.traces.values())


def estimate(config: Config, vocabulary: int, world: int, shape: Shape, ds_config: dict[str, Any], gpu: bool) -> Estimate:
    """Trace every task of `config` on a rank of `world`."""
    tracer = Tracer(config, vocabulary, gpu)
    traces: dict[str, Trace] = {task: tracer.task(planned_batches(config, task, world, shape), world) for task in config.tasks}
    held = max(trace.workspace for trace in traces.values())  # a step's other tasks have it too
    traces = {task: replace(trace, logits=trace.logits + held - trace.workspace) for task, trace in traces.items()}
    largest = max(parameter.numel() for parameter in tracer.model.parameters())
    moments: dict[str, Memory] = {
        task: backward(tracer.parameters, world, config.precision, trace.activations, trace.logits) for task, trace in traces.items()
    }
    moments['reduction'] = reduction(tracer.parameters, largest, world, config.precision, ds_config)
    return Estimate(tracer.parameters, traces, highest(list(moments.values())), moments)
