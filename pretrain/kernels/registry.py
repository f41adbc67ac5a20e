"""Backends of an operation: what each needs, and which one is taken."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from shards.errors import UserError

AUTO = 'auto'


class Place(NamedTuple):
    """Where a kernel is to run."""

    device: torch.device
    precision: str  # 'fp32' or 'bf16', of the weights
    head_size: int  # of attention: the model's width over its heads


@dataclass(frozen=True)
class Backend:
    """One implementation of an operation."""

    name: str
    lacks: Callable[[Place], str | None]  # why it cannot run there, in a few words; None when it can
    load: Callable[[], Any]  # imports what it needs and returns the function
    automatic: bool = True  # whether `auto` may take it


def choose(operation: str, backends: Sequence[Backend], name: str, place: Place) -> Backend:
    """The backend called `name`; for `auto` the first that can run at `place`.

    Raises UserError when there is none of that name, or it cannot run there.
    """
    if name == AUTO:
        return next(backend for backend in backends if backend.automatic and backend.lacks(place) is None)
    for backend in backends:
        if backend.name == name:
            lacking = backend.lacks(place)
            if lacking:
                raise UserError(f'kernels.{operation} = {name} cannot run here: {lacking}; choose auto, or see `pretrain doctor`')
            return backend
    names = ' '.join([AUTO, *(backend.name for backend in backends)])
    raise UserError(f'kernels.{operation} = {name} is none of {names}')


def anywhere(place: Place) -> str | None:
    """Plain PyTorch needs nothing."""
    return None


def lacks_cuda(place: Place) -> str | None:
    return None if place.device.type == 'cuda' else f'it needs an NVIDIA GPU, this process runs on {place.device.type}'


def lacks_module(module: str, remedy: str) -> str | None:
    """Whether a submodule cannot be imported. By submodule, as PyPI's `apex` is another program than NVIDIA's."""
    try:
        importlib.import_module(module)
    except Exception as error:  # a module that was built for another PyTorch raises whatever its loader likes
        return f'{module} cannot be imported ({type(error).__name__}); {remedy}'
    return None
