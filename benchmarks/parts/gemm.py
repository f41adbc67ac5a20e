"""What a machine can do at most."""

from __future__ import annotations

import time

import torch


def gemm_peak(dtype: torch.dtype, device: torch.device) -> float:
    """FLOP/s of a matrix product of a good size, the best of ten."""
    x, y = torch.randn(4096, 1024, device=device).to(dtype), torch.randn(1024, 1024, device=device).to(dtype)
    seconds = []
    for _ in range(10):
        _wait(device)
        began = time.perf_counter()
        torch.mm(x, y)
        _wait(device)
        seconds.append(time.perf_counter() - began)
    return 2 * x.numel() * len(y) / min(seconds)


def _wait(device: torch.device) -> None:
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
