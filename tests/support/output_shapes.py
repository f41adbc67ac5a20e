"""What PyTorch computes inside a block: of every operation its name and the shapes of the tensors that it makes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

VIEWS = {'t', 'transpose', 'view', 'detach', 'slice', 'alias', 'expand', 'unsqueeze', 'squeeze', 'as_strided', 'permute'}


class OutputShapes(TorchDispatchMode):
    """A context manager; views are left out, as they take no memory."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[tuple[str, tuple[int, ...]]] = []

    def of(self, shape: tuple[int, ...]) -> list[str]:
        """The operations that made a tensor of that shape, or wrote into one."""
        return [name for name, made in self.made if made == shape]

    def count(self, name: str) -> int:
        """How often the operation of that name ran."""
        return sum(made == name for made, _ in self.made)

    def __torch_dispatch__(
        self, operation: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        out = operation(*args, **(kwargs or {}))
        name = operation.overloadpacket.__name__
        if isinstance(out, Tensor) and name not in VIEWS:
            self.made.append((name, tuple(out.shape)))
        return out
