"""Counts what operations do: FLOPs, bytes alive, bytes moved. Works on the device `meta`, where nothing is computed."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from pretrain.plan.shapes import Shapes, tensors_in


class FlopCounter(TorchDispatchMode):
    """FLOPs of the matrix products inside, by torch's formulas: `flops`.

    In place of torch's own counter, whose hooks on modules keep what a recomputation made until the next garbage collection, so that memory
    counted beside it would depend on when that comes; and one dispatch an operation counts all that a plan has.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        formula = flop_registry.get(func._overloadpacket)
        if formula is None and _composite(func):  # of operations that may have one
            with self:
                return func.decompose(*args, **kwargs)
        out = self.run(func, args, kwargs)
        if formula is not None:
            self.flops += formula(*args, **kwargs, out_val=out)
        self.done(func, args, kwargs, out)
        return out

    def run(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Do an operation."""
        return func(*args, **kwargs)

    def done(self, func: Any, args: Any, kwargs: Any, out: Any) -> None:
        """An operation has been done."""


@cache
def _composite(func: Any) -> bool:
    """Whether an operation is only a sequence of others."""
    return bool(torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), torch._C.DispatchKey.CompositeImplicitAutograd))


class Counter(FlopCounter):
    """FLOPs, bytes moved, live bytes of the tensors that are made inside, and their parts at the moment of the highest sum.

    `vocabulary`: storages with a dimension of this size are logits or what belongs to the output layer's loss, the others activations.
    What an operation allocates inside itself is not seen, but for a softmax's conversion.
    """

    def __init__(self, vocabulary: int, shapes: Shapes) -> None:
        super().__init__()
        self.vocabulary, self.shapes = vocabulary, shapes
        self.live: dict[str, int] = {'activations': 0, 'logits': 0}
        self.peak, self.peak_parts, self.moved = 0, dict(self.live), 0
        self._known: dict[int, object] = {}

    def ignore(self, tensors: Iterable[Tensor]) -> None:
        """Tensors that were there before."""
        for tensor in tensors:
            self._known[tensor.untyped_storage()._cdata] = tensor

    def run(self, func: Any, args: Any, kwargs: Any) -> Any:
        return self.shapes.run(func, args, kwargs)

    def done(self, func: Any, args: Any, kwargs: Any, out: Any) -> None:
        made = tensors_in(out)
        if not func.is_view:
            self.moved += sum(tensor.numel() * tensor.itemsize for tensor in [*tensors_in(args), *tensors_in(kwargs), *made])
        for tensor in made:
            self._note(tensor)
        if 'softmax' in func.name() and made and args[0].dtype != made[0].dtype:
            self._passing(made[0].numel() * made[0].itemsize)  # its input in the output's precision, which only the operation sees

    def _passing(self, size: int) -> None:
        """Bytes that are there for a moment, of logits."""
        if sum(self.live.values()) + size > self.peak:
            self.peak, self.peak_parts = sum(self.live.values()) + size, {**self.live, 'logits': self.live['logits'] + size}

    def _note(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._known or not size:
            return
        part = 'logits' if self.vocabulary in tensor.shape else 'activations'
        self.live[part] += size

        def gone() -> None:
            self.live[part] -= size
            del self._known[key]

        self._known[key] = weakref.finalize(storage, gone)
        if sum(self.live.values()) > self.peak:
            self.peak, self.peak_parts = sum(self.live.values()), dict(self.live)


class FlashAttention:
    """Stands in for attention kernels of GPUs on the device `meta`: they keep queries, keys, values, output and a log-sum a query, and no
    scores. Counts their FLOPs as torch's counter does: 2 products forward, 5 backward, of the whole matrix.

    `padded` takes the place of scaled_dot_product_attention, `ragged` is a kernel of pretrain/kernels/attention.py.
    """

    def __init__(self) -> None:
        self.flops = 0

    def padded(self, q: Tensor, k: Tensor, v: Tensor, *unused: Any, **options: Any) -> Tensor:
        return self._call(q, k, v, q.shape[0] * q.shape[1] * q.shape[2] * k.shape[2] * q.shape[3])

    def ragged(self, q: Tensor, k: Tensor, v: Tensor, layout: Any, memory: Any, causal: bool) -> Tensor:
        return self._call(q, k, v, q.shape[1] * q.shape[2] * int((layout.lengths * memory.lengths).sum()))

    def _call(self, q: Tensor, k: Tensor, v: Tensor, size: int) -> Tensor:
        """`size`: products of one of the matrix multiplications."""
        out: Tensor = _Flash.apply(q, k, v, size, self)
        return out


class _Flash(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, size: int, counter: FlashAttention) -> Tensor:
        out = torch.empty_like(q)
        ctx.save_for_backward(q, k, v, out, q.new_empty(q.shape[:-1], dtype=torch.float32))
        ctx.size, ctx.counter = size, counter
        counter.flops += 2 * 2 * size
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        q, k, v, _, _ = ctx.saved_tensors
        ctx.counter.flops += 5 * 2 * ctx.size
        return torch.empty_like(q), torch.empty_like(k), torch.empty_like(v), None, None
