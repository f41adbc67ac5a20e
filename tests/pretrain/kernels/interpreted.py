"""The triton kernels against PyTorch's cross-entropy, in a process of its own: TRITON_INTERPRET=1 must be set before triton is imported.

Prints, as JSON, what went wrong by backend.
"""

from __future__ import annotations

import json
import sys
import traceback

import torch
import torch.nn.functional as F

from pretrain.kernels import triton_token_loss
from pretrain.kernels.registry import Place, choose
from pretrain.kernels.token_loss import BACKENDS, Segment

# Tokens that are more than our kernel's block. Liger's has one block for all tokens, and interprets a program for each in the backward.
MANY = {'triton': 5_000, 'liger': 500}


def check(backend: str) -> None:
    token_loss = choose('token_loss', BACKENDS, backend, Place(torch.device('cpu'), 'fp32', 64)).load()
    # rows, idle rows, vocabulary (97 and 33 are no multiple of anything), bias
    for rows, idle, vocabulary, with_bias in ((23, 41, 97, True), (23, 0, 33, False), (0, 8, 97, True), (5, 3, MANY[backend], True)):
        generator = torch.Generator().manual_seed(rows)
        states, weight, bias = (
            torch.randn(*shape, generator=generator).requires_grad_() for shape in ((rows + idle, 16), (vocabulary, 16), (vocabulary,))
        )
        labels = torch.randint(0, vocabulary, (rows,), generator=generator)
        leaves = [states, weight, *([bias] if with_bias else [])]
        segments = [Segment(rows // 3, 0.5), Segment(rows - rows // 3, 2.0)]
        ours, sums = token_loss(states, labels, weight, bias if with_bias else None, segments)
        logits = states[:rows] @ weight.T + (bias if with_bias else 0)
        losses = F.cross_entropy(logits, labels, reduction='none')
        first, second = losses[: rows // 3].sum(), losses[rows // 3 :].sum()
        theirs = 0.5 * first + 2 * second
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-5)
        torch.testing.assert_close(sums, torch.stack([first, second]).detach(), atol=1e-4, rtol=1e-5)
        expected = torch.autograd.grad(theirs * 3, leaves)
        for got, want in zip(torch.autograd.grad(ours * 3, leaves), expected, strict=True):
            torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-4)
        with torch.no_grad():
            one, again = (token_loss(x, labels, weight, None, segments)[0] for x in (states, states.clone()))
            torch.testing.assert_close(one, again)


if __name__ == '__main__':
    triton_token_loss.CHUNK_BYTES = 4 * 97 * 10  # several chunks
    problems = {}
    for name in sys.argv[1:]:
        try:
            check(name)
        except Exception:
            problems[name] = traceback.format_exc()
    print(json.dumps(problems))
