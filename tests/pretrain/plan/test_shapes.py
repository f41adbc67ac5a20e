"""Remembered results against the operations themselves; FLOPs of operations that consist of others."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain.config import load_config
from pretrain.plan.batches import Lengths, Shape, planned_batch
from pretrain.plan.counters import FlopCounter
from pretrain.plan.shapes import Shapes
from pretrain.plan.trace import Tracer

aten = torch.ops.aten
SETTINGS = ['model.dim=32', 'model.heads=2', 'model.ffn=64', 'model.text_layers=2', 'model.cross_layers=1', 'model.decoder_layers=1']


def meta(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.empty(shape, dtype=dtype, device='meta')


@pytest.mark.parametrize(
    ('operation', 'arguments', 'options'),
    [
        (aten.mm.default, (meta(3, 4), meta(5, 4).t()), {}),
        (aten.add.Tensor, (meta(3, 1, 4), meta(5, 1)), {'alpha': 2}),
        (aten.mul.Tensor, (meta(4, 3).t(), 2.0), {}),
        (aten._softmax.default, (meta(2, 3, dtype=torch.bfloat16), 1, True), {}),
        (aten.sum.dim_IntList, (meta(2, 3, 4), [1], True), {'dtype': torch.float64}),
        (aten.native_layer_norm.default, (meta(2, 3), [3], meta(3), None, 1e-5), {}),
        (aten.convolution_backward.default, (meta(1, 2, 4, 4), meta(1, 3, 8, 8), meta(2, 3, 2, 2), [2], [2, 2], [0, 0], [1, 1], False,
                                             [0, 0], 1, [False, True, True]), {}),
        (aten.cat.default, ([meta(2, 3), meta(4, 3)],), {}),
    ],
    ids=lambda value: str(value) if callable(value) else '',
)  # fmt: skip
def test_what_is_remembered_is_what_the_operation_makes(operation: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
    shapes = Shapes()
    first, second = (shapes.run(operation, arguments, options) for _ in range(2))
    made, remembered = (out if isinstance(out, tuple) else (out,) for out in (first, second))
    assert type(first) is type(second) and first is not second
    for one, other in zip(made, remembered, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            assert (one.shape, one.stride(), one.dtype, one.device) == (other.shape, other.stride(), other.dtype, other.device)
            assert one.untyped_storage()._cdata != other.untyped_storage()._cdata
            assert one.untyped_storage().nbytes() == other.untyped_storage().nbytes()


def test_arguments_that_are_equal_but_not_the_same() -> None:
    """A whole number, and one that makes a fraction of every element."""
    shapes, x = Shapes(), meta(2, dtype=torch.int64)
    assert [shapes.run(aten.add.Tensor, (x, one), {}).dtype for one in (1, 1.0, 1)] == [torch.int64, torch.float32, torch.int64]
    assert [shapes.run(aten.sum.dim_IntList, (meta(2, 3), [1], kept), {}).dim() for kept in (True, False)] == [2, 1]
    for x, strides in ((meta(3, 4), (4, 1)), (meta(4, 3).t(), (1, 3)), (meta(3, 4), (4, 1))):
        assert shapes.run(aten.mul.Tensor, (x, 2), {}).stride() == strides


def test_what_is_no_new_tensor_is_not_remembered() -> None:
    shapes, x = Shapes(), meta(2, 3)
    for _ in range(2):
        assert shapes.run(aten.add_.Tensor, (x, x), {}) is x
        for view in (aten.view.default, aten._unsafe_view.default):  # the second of which its operation does not declare
            assert shapes.run(view, (x, [3, 2]), {}).untyped_storage()._cdata == x.untyped_storage()._cdata


def test_numbers_are_computed() -> None:
    shapes = Shapes()
    shapes.run(aten.add.Tensor, (meta(1, dtype=torch.int64), 1), {})
    assert [shapes.run(aten.add.Tensor, (torch.tensor([number]), 1), {}).tolist() for number in (1, 5)] == [[2], [6]]


def test_a_second_trace_counts_what_the_first_did() -> None:
    """Of which nothing was remembered."""
    config, shape = load_config('configs/sample.yaml', SETTINGS), Shape(Lengths(8, 32), Lengths(16, 32))
    tracer = Tracer(config, 500, gpu=True)
    first, second = (tracer.task([planned_batch(config, 'mmmt', 4, shape)], 1) for _ in range(2))
    assert first == second and first.peak > 0 < first.moved


@pytest.mark.parametrize('mode', [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_an_operation_of_others_is_counted_by_them(mode: Any) -> None:
    """`linear` comes whole where nothing keeps a gradient."""
    with mode(), FlopCounter() as counter:
        F.linear(meta(7, 4), meta(5, 4), meta(5))
    assert counter.flops == 2 * 7 * 4 * 5
