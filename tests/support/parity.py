"""One step of the engine, or of DistributedDataParallel, in the ranks of a process group: losses and the gradient of every weight."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.distributed.nn.functional as differentiable
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from pretrain.config import Config, FineTune
from pretrain.config.tasks import Mixture
from pretrain.data.batch import TaskBatch
from pretrain.engine import zero
from pretrain.engine.distributed import init_distributed
from pretrain.engine.ds_config import DEFAULT
from pretrain.engine.step import StepResult, train_step
from pretrain.engine.zero import Engine
from pretrain.model.unix2 import UniX2
from pretrain.tasks import CONTRASTIVE, SUMMED
from pretrain.tasks.contrastive import contrastive_loss
from pretrain.tasks.forward import features, forward
from tests.support.plain import true_match
from tests.support.synthetic import VOCABULARY, micro_batches, task_batch, tiny_config, with_pictures_in_common

BETA1 = 0.9
BUCKET = 1000  # numbers
REDUCTIONS = ('all_reduce', 'reduce')

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Case:
    """What a step trains, and how."""

    tasks: list[str]
    micro: int = 2
    precision: str = 'fp32'
    # zero1, zero2, shipped (zero2, reducing as on a GPU), ddp (torch's), reduced (our step, gradients added over ranks by hand)
    how: str = 'zero2'
    samples: int = 8  # of a task's global batch
    together: bool = False  # all tasks in one forward
    share_images: bool = False  # the tasks have pictures in common
    again: bool = False  # the first task once more, on other samples, as `batch.merge: drawn` may draw it
    weights: dict[str, float] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)  # settings
    task: dict[str, Any] = field(default_factory=dict)

    def config(self, out: str = '') -> Config:
        finetune = FineTune(benchmark='xvnli', model='', data='') if 'labels' in self.model else None
        config = tiny_config(out, self.precision, self.micro, tasks=self.tasks, task_weights=self.weights, finetune=finetune)
        config = config.model_copy(update={'model': config.model.model_copy(update=self.model)})
        config = config.model_copy(update={'batch': config.batch.model_copy(update={'together': self.together})})
        config = config.model_copy(update={'mixture': Mixture(share_images=self.share_images)})
        return config.model_copy(update={'task': config.task.model_copy(update=self.task)})

    def batches(self) -> dict[str, TaskBatch]:
        """Part of the step -> its global batch."""
        twice = {f'{self.tasks[0]}.2': task_batch(self.tasks[0], self.samples, seed=1)} if self.again else {}
        batches = {task: task_batch(task, self.samples) for task in self.tasks} | twice
        if self.share_images:
            for number, batch in enumerate(batches.values()):
                with_pictures_in_common(batch, number)
        return batches

    def new_model(self) -> UniX2:
        torch.manual_seed(0)
        return UniX2(self.config().model, VOCABULARY)

    def rank_data(self, rank: int, world: int) -> dict[str, list[TaskBatch]]:
        return {part: micro_batches(whole, rank, world, self.micro) for part, whole in self.batches().items()}


def run_cases(cases: list[Case], folder: str) -> list[Tensors]:
    """Every case, each with an engine of its own, in one process group: starting processes is what takes time."""
    init_distributed()
    return [ddp(case) if case.how == 'ddp' else ours(case, folder) for case in cases]


def ours(case: Case, folder: str) -> Tensors:
    """`train_step`; gradients under ZeRO from AdamW's first moment after the update."""
    config, rank, world = case.config(folder), dist.get_rank(), dist.get_world_size()
    data = case.rank_data(rank, world)
    if case.how == 'reduced':
        plain: Any = ReducedByHand(case.new_model())
        out = reported(train_step(plain, config, data, 0, 1e-2), 0)
        return out | {f'grad.{name}': value.grad for name, value in plain.module.named_parameters()}
    with pytest.MonkeyPatch.context() as patch:
        if case.how == 'shipped':
            patch.setattr(zero, 'accelerator_name', lambda: 'cuda')  # whose settings DeepSpeed takes then; there are no streams here
        engine = Engine(case.new_model(), config, stage(case.how, folder))
    with saved_bytes() as peak_of, reductions() as reduced:
        result = train_step(engine, config, data, 0, 1e-2)
    traffic = {'reduced': torch.tensor(sorted(reduced)), 'overlapped': torch.tensor(engine._zero.overlap_comm)}
    gradients = {f'grad.{name}': value for name, value in first_moments(engine).items()}
    return reported(result, peak_of()) | gradients | dtypes(engine) | traffic


@contextmanager
def reductions() -> Iterator[list[int]]:
    """Bytes of every tensor that this rank has reduced with the others."""
    found: list[int] = []

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(tensor: Tensor, *arguments: Any, **named: Any) -> Any:
            found.append(tensor.nbytes)
            return function(tensor, *arguments, **named)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in REDUCTIONS:
            patch.setattr(dist, name, counted(getattr(dist, name)))
        yield found


def reported(result: StepResult | None, peak: int) -> Tensors:
    assert result is not None  # nobody asked it to stop
    out = {f'loss.{task}': torch.tensor(loss) for task, loss in result.losses.items()}
    out |= {f'examples.{name}': torch.tensor(value) for name, value in result.examples.items()}
    out |= {f'samples_of.{task}': torch.tensor(number) for task, number in result.samples_of.items()}
    numbers = {'total': result.total, 'norm': result.grad_norm, 'peak': peak, 'samples': list(result.samples.encode())}
    return out | {name: torch.tensor(value) for name, value in numbers.items()}


def stage(how: str, folder: str) -> Path:
    """DeepSpeed's configuration for zero1, zero2 or shipped, which has buckets that a few weights fill, and one is too large for."""
    settings = json.loads(DEFAULT.read_text())
    if how == 'shipped':
        settings['zero_optimization']['reduce_bucket_size'] = BUCKET
    else:
        settings['zero_optimization']['stage'] = int(how[-1])
    path = Path(folder) / f'{how}.{dist.get_rank()}.json'
    path.write_text(json.dumps(settings))
    return path


def first_moments(engine: Engine) -> Tensors:
    """Gradient of every weight, from all ranks' slices of the first moment."""
    out: Tensors = {}
    for number, (names, shapes) in enumerate(zip(engine.names, engine.shapes, strict=True)):
        piece = engine.slices()[number]
        flat = torch.zeros(engine.group_sizes[number])
        flat[piece.start : piece.start + len(piece.master)] = piece.moments['exp_avg'] / (1 - BETA1)
        dist.all_reduce(flat)
        sizes = [torch.Size(shape).numel() for shape in shapes]
        out |= {name: part.view(shape).clone() for name, shape, part in zip(names, shapes, flat.split(sizes), strict=True)}
    return out


def dtypes(engine: Engine) -> Tensors:
    """1 where the optimizer's weights, its moments and the accumulated gradients are fp32."""
    pieces = [tensor for piece in engine.slices() for tensor in (piece.master, *piece.moments.values())]
    accumulated = engine._engine.get_data_types()[1]  # (model's, that of gradient accumulation)
    communicated = engine._engine.communication_data_type
    single = all(tensor.dtype == torch.float32 for tensor in pieces) and accumulated == communicated == torch.float32
    return {'fp32 state': torch.tensor(float(single))}


class ReducedByHand:
    """What `train_step` needs of an engine: plain gradients, added over ranks. No DeepSpeed."""

    def __init__(self, module: UniX2):
        self.module, self.device = module, torch.device('cpu')
        self.rank, self.world = dist.get_rank(), dist.get_world_size()

    @contextmanager
    def accumulate(self) -> Iterator[None]:
        yield

    def backward(self, share: Tensor) -> None:
        share.backward()

    def step(self, lr: float) -> tuple[float, bool]:
        for parameter in self.module.parameters():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            dist.all_reduce(parameter.grad)
        return float(torch.stack([value.grad.norm() for value in self.module.parameters() if value.grad is not None]).norm()), False


class Called(nn.Module):
    """DDP wraps a forward: that of a loss of the model."""

    def __init__(self, model: UniX2):
        super().__init__()
        self.model = model

    def forward(self, loss: Callable[[UniX2], Tensor]) -> Tensor:
        return loss(self.model)


def ddp(case: Case) -> Tensors:
    """The textbook's way: torch's DDP averages over ranks, contrastive features are gathered with a gradient."""
    rank, world = dist.get_rank(), dist.get_world_size()
    data = {part: micro_batches(whole, rank, world, case.samples)[0] for part, whole in case.batches().items()}
    model = case.new_model()

    def loss(model: UniX2) -> Tensor:
        losses = [ddp_loss(model, batch.task, batch, case.batches()[part], world) for part, batch in data.items()]
        return torch.stack(losses).mean()

    wrapped = DistributedDataParallel(Called(model), find_unused_parameters=True)  # its backward needs it alive
    wrapped(loss).backward()
    return {f'grad.{name}': torch.zeros_like(value) if value.grad is None else value.grad for name, value in model.named_parameters()}


def ddp_loss(model: UniX2, task: str, batch: TaskBatch, whole: TaskBatch, world: int) -> Tensor:
    """A rank's loss such that the mean over ranks is the loss of the global batch `whole`."""
    if task == 'itm':
        batch = replace(batch, match=true_match(batch, whole))
    if task in SUMMED:
        counts = SUMMED[task].counts(whole)
        return world * forward(model, {task: batch}, {task: {name: 1 / count for name, count in counts.items()}}).total
    x, y = (torch.cat(differentiable.all_gather(side)) for side in features(model, batch))
    return contrastive_loss(x, y, model.scale(), CONTRASTIVE[task].positives(CONTRASTIVE[task].keys(whole)))


@contextmanager
def saved_bytes() -> Iterator[Callable[[], int]]:
    """Yields a function that gives the largest number of bytes which autograd held for backwards at a time, weights not counted."""
    now = peak = 0

    class Held:
        def __init__(self, tensor: Tensor):
            nonlocal now, peak
            self.tensor = tensor
            self.bytes = 0 if tensor.is_leaf and tensor.requires_grad else tensor.nbytes
            now += self.bytes
            peak = max(peak, now)

        def __del__(self) -> None:
            nonlocal now
            now -= self.bytes

    with torch.autograd.graph.saved_tensors_hooks(Held, lambda held: held.tensor):
        yield lambda: peak
