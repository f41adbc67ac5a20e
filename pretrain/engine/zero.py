"""The one place that trains with DeepSpeed: backward, step, and the flat state that checkpoints save.

What DeepSpeed would divide by is undone here, once: gradients are averaged over ranks, so a loss that is already a share of the
global one is multiplied by the number of ranks. Nothing is divided by accumulation steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pretrain import kernels
from pretrain.config import Config, Optimizer
from pretrain.engine import optimizers
from pretrain.engine.distributed import accelerator_name, import_deepspeed, local_device
from pretrain.engine.ds_config import resolve_ds_config
from pretrain.engine.host import plain_visual_attention
from pretrain.kernels.registry import Place, choose

TOKENS = 'embed_tokens'  # the model's token table, which both heads of tokens share


@dataclass(frozen=True)
class Slice:
    """One rank's contiguous part of a parameter group, flattened in the order of the parameters (the same at any number of ranks)."""

    start: int
    master: Tensor  # fp32 weights
    moments: dict[str, Tensor]  # exp_avg, exp_avg_sq


def parameter_groups(model: nn.Module, options: Optimizer) -> list[dict[str, Any]]:
    """Two groups: decayed matrices; biases, norms and the logit scale without decay (docs/method.md). Vectors kept as matrices, such as
    [MM_CLS], modalities and the ViT's class token, do decay. A token table that learns at another rate is a third, before them. `rate` is
    what the learning rate is multiplied by."""
    decayed = {name: parameter for name, parameter in model.named_parameters() if parameter.ndim >= 2}
    plain = {name: parameter for name, parameter in model.named_parameters() if parameter.ndim < 2}
    groups = [(decayed, options.weight_decay, 1.0), (plain, 0.0, 1.0)]
    if options.token_lr != 1:
        groups.insert(0, ({TOKENS: decayed.pop(TOKENS)}, options.weight_decay, options.token_lr))
    return [{'params': list(of.values()), 'names': list(of), 'weight_decay': decay, 'rate': rate} for of, decay, rate in groups]


class Engine:
    """A model under ZeRO."""

    def __init__(self, model: nn.Module, config: Config, ds_config: str | Path | None):
        deepspeed = import_deepspeed()
        self.world = torch.distributed.get_world_size()
        self.rank = torch.distributed.get_rank()
        self.device = local_device()
        resolved = resolve_ds_config(ds_config, config, self.world, accelerator_name())
        self.ds_config = deepcopy(resolved)  # as it is before DeepSpeed reads it
        groups = parameter_groups(model, config.optimizer)
        self._rates: list[float] = [group.pop('rate') for group in groups]
        self.names: list[list[str]] = [group.pop('names') for group in groups]
        self.shapes = [[tuple(parameter.shape) for parameter in group['params']] for group in groups]
        plain_visual_attention(model, self.device)
        place = Place(self.device, config.precision, config.model.dim // config.model.heads)
        adamw = choose('optimizer', optimizers.BACKENDS, config.kernels.optimizer, place)
        self.kernels = {**kernels.use(config.kernels, place), 'optimizer': adamw.name}  # operation -> what computes it
        optimizer = adamw.load()(groups, config.optimizer)
        self._engine, self._zero, _, _ = deepspeed.initialize(model=model, optimizer=optimizer, config=resolved)
        self._zero.get_grad_norm_direct = self._gradient_norm
        for parameter in self._parameters():
            # Backwards add up in fp32. At stage 2 DeepSpeed would add up in the weights' precision until it reduces, which is once a step.
            parameter.grad_dtype = torch.float32
        self._zero.use_grad_accum_attribute = False
        for hook in self._zero._grad_acc_hooks:  # they reduce after every backward, or do nothing, once a parameter and backward
            hook.remove()

    @property
    def module(self) -> Any:
        """The model that was given, in the training precision."""
        return self._engine.module

    def _parameters(self) -> Iterator[nn.Parameter]:
        return (parameter for parameter in self._engine.module.parameters() if parameter.requires_grad)

    @contextmanager
    def accumulate(self) -> Iterator[None]:
        """Backwards inside add up on this rank, in fp32; gradients are reduced over ranks once, at the end (DeepSpeed 7992)."""
        table = self.module.embed_tokens
        table.grad = torch.zeros_like(table, dtype=torch.float32)  # its gradients are added in place (pretrain/model/gradients.py)
        with self._engine.coalesce_grad_reduction():
            yield
            for parameter in self._parameters():
                # A task without a picture on one rank only would leave the ranks with different lists of gradients to reduce.
                gradient = torch.zeros_like(parameter, dtype=torch.float32) if parameter.grad is None else parameter.grad
                parameter.grad = None
                parameter.grad_accum = gradient  # type: ignore[attr-defined]  # where DeepSpeed takes them in fp32 from
            self._zero.use_grad_accum_attribute = True
        self._zero.use_grad_accum_attribute = False

    def backward(self, share: Tensor) -> None:
        """Gradient of `share`, this rank's part of a global loss: the parts of all ranks add up to it."""
        (share * self.world).backward()

    def step(self, lr: float) -> tuple[float, bool]:
        """One AdamW update. Returns the gradient norm before clipping and whether the update was skipped (a gradient was not finite)."""
        for group, rate in zip(self._zero.optimizer.param_groups, self._rates, strict=True):
            group['lr'] = lr * rate
        self._engine.step()
        return float(self._zero._global_grad_norm), bool(self._zero.overflow)

    def _gradient_norm(self, gradients: Iterable[Tensor], parameters: Iterable[Tensor]) -> Tensor:
        """Norm of a parameter group over all ranks, from this rank's part of it. In place of DeepSpeed's, which converts every gradient
        to double precision and takes a norm of each."""
        own = [gradient for gradient in gradients if not getattr(gradient, '_zero_padding', False)]
        squared = kernels.gradient_norm(own).square() if own else torch.zeros((), device=self.device)
        torch.distributed.all_reduce(squared, group=self._zero.dp_process_group)
        return squared.sqrt()

    def discard(self) -> None:
        """Forget the gradients: as `step` does when one is not finite."""
        zero = self._zero
        zero.zero_grad(set_to_none=True)
        zero._release_preflattened_grad_buffers()
        for group in zero.averaged_gradients:
            zero.averaged_gradients[group] = zero.all_grad_tensors[group] = None

    # ---- state, for checkpoints ------------------------------------------------------------------------------------------------------

    def slices(self) -> list[Slice]:
        """This rank's slice of every parameter group, without the padding that ZeRO adds at the end. The tensors are the live ones."""
        out = []
        for group, partition in enumerate(self._zero.single_partition_of_fp32_groups):
            start = self.rank * partition.numel()
            length = max(0, min(partition.numel(), self.group_sizes[group] - start))
            state = self._zero.optimizer.state.get(partition, {})
            moments = {name: state[name][:length] for name in ('exp_avg', 'exp_avg_sq') if name in state}
            out.append(Slice(start, partition.data[:length], moments))
        return out

    @property
    def group_sizes(self) -> list[int]:
        """Number of weights in every parameter group."""
        return [sum(torch.Size(shape).numel() for shape in shapes) for shapes in self.shapes]

    @property
    def updates(self) -> int:
        """Updates that AdamW has applied: one that was skipped, as a gradient was not finite, does not count for its bias correction."""
        return optimizers.updates(self._zero.optimizer)

    def load_slices(self, slices: list[Slice], updates: int) -> None:
        """Take over saved state, as `slices` returned it (of any number of ranks, cut anew), after `updates`; then share the weights."""
        for group, (partition, saved) in enumerate(zip(self._zero.single_partition_of_fp32_groups, slices, strict=True)):
            length = saved.master.numel()
            partition.data[:length].copy_(saved.master)
            state = self._zero.optimizer.state[partition]
            optimizers.set_updates(self._zero.optimizer, partition, updates)
            for name, moment in saved.moments.items():
                full = state.get(name)
                if full is None:
                    full = state[name] = torch.zeros_like(partition.data)
                full[:length].copy_(moment)
            self._zero.parallel_partitioned_bit16_groups[group][self.rank].data.copy_(partition.data)
        for group, flat in enumerate(self._zero.bit16_groups_flat):
            own = self._zero.parallel_partitioned_bit16_groups[group][self.rank]
            torch.distributed.all_gather_single(flat, own.clone())
