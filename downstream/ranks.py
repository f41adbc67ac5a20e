"""The processes of an evaluation: one, or those that a launcher started (deepspeed, torchrun, srun). Each has the whole model and a share
of the examples; rank 0 has all results and writes them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from tqdm import tqdm

from shards.errors import UserError

Item = TypeVar('Item')


def join() -> torch.device:
    """Join the launcher's job, if there is one; the device of this process."""
    if int(os.environ.get('WORLD_SIZE') or os.environ.get('SLURM_NTASKS') or 1) == 1:  # DeepSpeed takes seconds to import
        return torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    from pretrain.engine.distributed import init_distributed, local_device

    if not dist.is_initialized():
        init_distributed()
    return local_device()


def rank() -> int:
    """Of this process."""
    return dist.get_rank() if dist.is_initialized() else 0


def world() -> int:
    """Number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def leads() -> bool:
    """Whether this is the process that writes and prints."""
    return rank() == 0


def progress_bar(total: int, what: str, unit: str, shown: bool = True) -> Any:
    """A bar that this rank's part of `total` fills; rank 0 shows it."""
    return tqdm(total=total // world(), desc=what, unit=unit, disable=not (shown and leads()))


def share(items: Sequence[Item]) -> Sequence[Item]:
    """Those that are this rank's."""
    return items[rank() :: world()]


def gather(work: Callable[[], Mapping[int, Item]], count: int) -> list[Item]:
    """What the ranks' `work` found for examples 0 to `count` - 1, in their order, on every rank. Each must have been found exactly once.

    A UserError that one rank meets is raised on all: none of them waits for what will not come.
    """
    found: Mapping[int, Item] = {}
    mistake = None
    try:
        found = work()
    except UserError as error:
        mistake = str(error)
    every: list[tuple[Mapping[int, Item], str | None]] = [(found, mistake)]
    if dist.is_initialized():
        every = [({}, None)] * world()
        dist.all_gather_object(every, (dict(found), mistake))
    together: dict[int, Item] = {}
    for part, problem in every:
        if problem is not None:
            raise UserError(problem)
        repeated = together.keys() & part.keys()
        assert not repeated, f'examples {sorted(repeated)[:5]} were done by two ranks'
        together.update(part)
    assert together.keys() == set(range(count)), f'{len(together)} of {count} examples were done'
    return [together[example] for example in range(count)]
