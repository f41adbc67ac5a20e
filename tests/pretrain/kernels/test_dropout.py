from __future__ import annotations

import pytest
import torch

from pretrain.kernels.dropout import BACKENDS, Dropout


@pytest.fixture(params=[backend.name for backend in BACKENDS])
def dropout(request: pytest.FixtureRequest) -> Dropout:
    loaded: Dropout = next(backend for backend in BACKENDS if backend.name == request.param).load()
    return loaded


@pytest.mark.parametrize('precision', [torch.float32, torch.bfloat16])
def test_the_share_and_the_scale(dropout: Dropout, precision: torch.dtype) -> None:
    """Each element is 0 or x / 0.9; the share of zeros is within five standard deviations; rows and columns do not depend on each other."""
    torch.manual_seed(3)
    x = torch.ones(400, 601, dtype=precision)
    out = dropout(x, 0.1, True)
    dropped = out == 0
    torch.testing.assert_close(out[~dropped].float(), torch.full_like(out[~dropped], 1 / 0.9, dtype=torch.float32), rtol=4e-3, atol=0)
    assert abs(dropped.float().mean() - 0.1) < 5 * (0.09 / x.numel()) ** 0.5
    both = (dropped[:, 1:] & dropped[:, :-1]).float().mean()
    assert abs(both - 0.01) < 5 * (0.0099 / x.numel()) ** 0.5


def test_the_seed_repeats_it_and_the_gradient_has_its_mask(dropout: Dropout) -> None:
    x = torch.randn(33, 7, requires_grad=True)
    torch.manual_seed(5)
    first, second = dropout(x, 0.3, True), dropout(x, 0.3, True)
    torch.manual_seed(5)
    again = dropout(x, 0.3, True)
    assert torch.equal(first, again) and not torch.equal(first, second)
    again.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad * x, again)


def test_off_when_not_training_or_without_a_probability(dropout: Dropout) -> None:
    x = torch.randn(4, 5)
    assert torch.equal(dropout(x, 0.5, False), x) and torch.equal(dropout(x, 0.0, True), x)
