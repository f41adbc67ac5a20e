"""What operations make on the device `meta`, remembered: a model's layers ask for the same again and again, and PyTorch works most of them
out in Python.
"""

from __future__ import annotations

from collections.abc import Hashable
from functools import cache
from typing import Any

import torch
from torch import Tensor

Made = tuple[torch.Size, tuple[int, ...], torch.dtype]  # of a tensor: shape, strides, type


class Shapes:
    """Runs operations, those with the arguments of an earlier one by its results' shapes."""

    def __init__(self) -> None:
        self._made: dict[Hashable, list[Made | None] | None] = {}  # None: not to be remembered; in a list: of what is no tensor but None

    def run(self, func: Any, args: Any, kwargs: Any) -> Any:
        """The operation's results, as it would have them."""
        if not _functional(func):
            return func(*args, **kwargs)
        key = (func, _described(args), _described(list(kwargs.items())))
        known = self._made.get(key)
        if known is None:
            out = func(*args, **kwargs)
            if key not in self._made:
                self._made[key] = _results(out, (*args, *kwargs.values()))
            return out
        made = [None if one is None else torch.empty_strided(one[0], one[1], dtype=one[2], device='meta') for one in known]
        return tuple(made) if len(func._schema.returns) > 1 else made[0]


@cache
def _functional(func: Any) -> bool:
    """Whether nothing is changed or looked at in another shape, and all results are tensors."""
    schema = func._schema
    tensors = all(str(result.type) == 'Tensor' for result in schema.returns)
    return bool(schema.returns) and tensors and not any(value.alias_info for value in (*schema.arguments, *schema.returns))


def _described(value: Any) -> Hashable:
    """What an operation on `meta` knows of an argument."""
    if isinstance(value, Tensor):
        return value.shape, value.stride(), value.dtype, value.device
    if isinstance(value, list | tuple):
        return tuple([_described(one) for one in value])
    return type(value), value  # 1, 1.0 and True are equal


def _results(out: Any, arguments: tuple[Any, ...]) -> list[Made | None] | None:
    """Of new tensors on `meta`; None where one has numbers, or is a view that its operation does not declare."""
    results = out if isinstance(out, tuple) else (out,)
    before = {one.untyped_storage()._cdata for one in tensors_in(arguments)}
    tensors = [one for one in results if one is not None]
    if any(one.device.type != 'meta' or one.untyped_storage()._cdata in before for one in tensors):
        return None
    return [None if one is None else (one.shape, one.stride(), one.dtype) for one in results]


def tensors_in(values: Any) -> list[Tensor]:
    """Tensors of an operation's arguments or results, in order."""
    if isinstance(values, Tensor):
        return [values]
    if isinstance(values, dict):
        values = values.values()
    elif not isinstance(values, list | tuple):
        return []
    return [tensor for value in values for tensor in tensors_in(value)]
