"""What a fused token loss must give, against PyTorch's cross-entropy in fp32, on any device."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pretrain.kernels import chunked_loss
from pretrain.kernels.registry import Place, choose
from pretrain.kernels.token_loss import BACKENDS, Segment, TokenLoss
from tests.support.output_shapes import OutputShapes

DTYPES = {'fp32': torch.float32, 'bf16': torch.bfloat16}
# Of losses, and of the norm of what a gradient is wrong by. A bf16 logit is wrong by 2^-9 of itself, and here they go up to 15.
TOLERANCES: dict[str, tuple[dict[str, Any], float]] = {
    'fp32': ({'atol': 1e-4, 'rtol': 1e-5}, 1e-5),
    'bf16': ({'atol': 0.05, 'rtol': 5e-3}, 0.02),
}
WIDTH = 16


def _backend(name: str, device: torch.device, precision: str) -> TokenLoss:
    function: TokenLoss = choose('token_loss', BACKENDS, name, Place(device, precision, 64)).load()
    return function


def check(name: str, device: torch.device, precision: str, many: int) -> None:
    """Losses, sums and gradients by `name`, with logits in several chunks; `many` tokens are more than one block of the kernel."""
    token_loss = _backend(name, device, precision)
    # rows, idle rows, vocabulary (97 and 33 are no multiple of anything), bias, rows at a time
    cases = ((23, 41, 97, True, 10), (23, 0, 33, False, 10), (0, 8, 97, True, 10), (5, 3, many, True, 1), (20, 4, many, False, 16))
    for rows, idle, vocabulary, with_bias, together in cases:
        with patch.object(chunked_loss, 'CHUNK_BYTES', together * vocabulary * DTYPES[precision].itemsize):
            _check(token_loss, device, precision, rows, idle, vocabulary, with_bias)


def _check(token_loss: TokenLoss, device: torch.device, precision: str, rows: int, idle: int, vocabulary: int, with_bias: bool) -> None:
    of_losses, of_gradients = TOLERANCES[precision]
    generator = torch.Generator().manual_seed(rows)
    states, weight, bias = (
        torch.randn(*shape, generator=generator).to(device, DTYPES[precision]).requires_grad_()
        for shape in ((rows + idle, WIDTH), (vocabulary, WIDTH), (vocabulary,))
    )
    labels = torch.randint(0, vocabulary, (rows,), generator=generator).to(device)
    leaves = [states, weight, *([bias] if with_bias else [])]
    exact = [leaf.detach().float().requires_grad_() for leaf in leaves]
    segments = [Segment(rows // 3, 0.5), Segment(rows - rows // 3, 2.0)]
    ours, sums = token_loss(states, labels, weight, bias if with_bias else None, segments)
    losses = F.cross_entropy(exact[0][:rows] @ exact[1].T + (exact[2] if with_bias else 0), labels, reduction='none')
    first, second = losses[: rows // 3].sum(), losses[rows // 3 :].sum()
    theirs = 0.5 * first + 2 * second
    torch.testing.assert_close(ours.float(), theirs, **of_losses)
    torch.testing.assert_close(sums.float(), torch.stack([first, second]).detach(), **of_losses)
    expected = torch.autograd.grad(theirs * 3, exact)
    for got, want in zip(torch.autograd.grad(ours * 3, leaves), expected, strict=True):
        error, size = (got.float() - want).norm(), want.norm()
        assert error <= of_gradients * size, f'a gradient of {tuple(want.shape)} is wrong by {error / size:.1e}'
    with torch.no_grad():
        one, again = (token_loss(x, labels, weight, None, segments)[0] for x in (states, states.clone()))
        torch.testing.assert_close(one, again)


def check_held_gradient(device: torch.device) -> None:
    """Ours, with bf16 weights whose gradient is held in fp32, as the engine does: added there, never rounded to bf16 or made anew; and
    nothing is made for a gradient under `no_grad`."""
    token_loss = _backend('triton', device, 'bf16')
    torch.manual_seed(0)
    states, labels = torch.randn(40, WIDTH).to(device, torch.bfloat16), torch.randint(0, 33, (40,)).to(device)
    weight: Any = nn.Parameter(torch.randn(33, WIDTH).to(device, torch.bfloat16))
    weight.grad_dtype = torch.float32
    segments = [Segment(40, 1.0)]

    def backward() -> Tensor:
        loss = token_loss(states, labels, weight, None, segments)[0] / 3
        with OutputShapes() as seen:
            loss.backward()
        assert seen.of((33, WIDTH)) == ['addcmul_'], seen.of((33, WIDTH))
        gradient: Tensor = weight.grad
        return gradient

    with patch.object(chunked_loss, 'CHUNK_BYTES', 8 * 33 * 2):
        weight.grad = torch.zeros_like(weight, dtype=torch.float32)
        once = backward().clone()
        assert (once != once.bfloat16().float()).float().mean() > 0.5
        for _ in range(4):
            backward()
        torch.testing.assert_close(weight.grad, 5 * once, rtol=1e-5, atol=1e-5)
        with torch.no_grad(), OutputShapes() as seen:
            token_loss(states, labels, weight, None, segments)
        assert (seen.count('mm'), seen.count('zeros_like'), seen.count('empty_like')) == (5, 0, 0)
