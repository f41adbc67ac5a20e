"""Memory that is used again.

A CPU's allocator gives large blocks back to the system at once; on their return they are zeroed, page by page.
"""

from __future__ import annotations

import math
from collections.abc import Hashable

import torch
from torch import Tensor


class Workspace:
    """Buffers of one kind of computation. Contents are undefined when they are handed out."""

    def __init__(self) -> None:
        self._named: dict[tuple[str, torch.dtype, torch.device], Tensor] = {}
        self._free: list[Tensor] = []

    def buffer(self, name: str, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
        """The buffer of that name; valid until the next call with it asks for another shape."""
        size = math.prod(shape)
        held = self._named.get((name, dtype, device))
        if held is None or held.numel() < size:
            held = self._named[name, dtype, device] = torch.empty(size, dtype=dtype, device=device)
        return held[:size].view(shape)

    def take(self, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
        """A tensor that is the caller's until it is given back (or forgotten)."""
        for position, tensor in enumerate(self._free):
            if tensor.shape == shape and tensor.dtype == dtype and tensor.device == device:
                return self._free.pop(position)
        return torch.empty(shape, dtype=dtype, device=device)

    def tensors(self) -> list[Tensor]:
        """All that it holds."""
        return [*self._named.values(), *self._free]

    def sizes(self) -> dict[Hashable, int]:
        """Bytes of every buffer that it holds."""
        free: dict[Hashable, int] = {('free', number, tensor.shape): tensor.nbytes for number, tensor in enumerate(self._free)}
        return {**free, **{name: tensor.nbytes for name, tensor in self._named.items()}}

    def give_back(self, tensor: Tensor) -> None:
        """The tensor may be handed out again."""
        self._free.append(tensor)
