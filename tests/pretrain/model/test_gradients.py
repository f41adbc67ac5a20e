"""The token table's gradient, against PyTorch's own embedding."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from pretrain.model.gradients import Embedding, scaled_gradient
from pretrain.model.packed import Layout
from pretrain.model.transformer import Positions

IDS = torch.tensor([3, 0, 3, 6, 3])


@pytest.mark.parametrize('held', [False, True])
def test_embedding(held: bool) -> None:
    """Into a gradient that is there, or as a new one; a row that is used three times gets all three."""
    table = torch.randn(7, 4, requires_grad=True)
    reference = table.detach().clone().requires_grad_()
    before = torch.randn(7, 4)
    gradient = torch.randn(5, 4)
    if held:
        table.grad = before.clone()
    out = Embedding.apply(IDS, table)
    assert torch.equal(out, F.embedding(IDS, reference))
    out.backward(gradient)
    F.embedding(IDS, reference).backward(gradient)
    assert reference.grad is not None
    torch.testing.assert_close(table.grad, reference.grad + before if held else reference.grad)


def test_a_bf16_table_keeps_what_bf16_cannot() -> None:
    table = torch.zeros(7, 4, dtype=torch.bfloat16, requires_grad=True)
    table.grad_dtype = torch.float32
    for _ in range(2):  # a new gradient, then one that is held
        Embedding.apply(IDS, table).float().sum().mul(1 / 3).backward()
    assert table.grad is not None and table.grad.dtype == torch.float32
    third = torch.tensor(1 / 3).to(torch.bfloat16).float()
    torch.testing.assert_close(table.grad[3], (6 * third).expand(4), rtol=1e-6, atol=0)


def test_positions_of_many_rows_add_up_in_fp32() -> None:
    """Every row has a position 0. In bf16 the sum of ones stops at 256, where the next number is 258."""
    positions = Positions(4, 3).to(torch.bfloat16)
    positions.weight.data.zero_()
    positions.weight.grad_dtype = torch.float32
    layout = Layout.of(torch.ones(600, dtype=torch.int64), 'cpu')
    for times in (1, 2):  # a new gradient, then one that is held
        positions(layout)[: layout.tokens].float().sum().backward()
        assert positions.weight.grad is not None and positions.weight.grad.dtype == torch.float32
        assert positions.weight.grad.tolist() == [[0] * 4, [0] * 4, [600 * times] * 4, [0] * 4, [0] * 4]


def test_a_scaled_gradient_is_added_or_returned() -> None:
    weight = torch.randn(3, 2, requires_grad=True)
    gradient, scale = torch.randn(3, 2), torch.tensor(0.25)
    returned = scaled_gradient(weight, gradient.clone(), scale)
    assert returned is not None and torch.equal(returned, gradient * scale)
    weight.grad = torch.ones(3, 2)
    assert scaled_gradient(weight, gradient, scale) is None
    torch.testing.assert_close(weight.grad, 1 + gradient * scale)
