"""Learning rate as a function of the step: linear warm-up, cosine to the floor (paper section 4.1)."""

from __future__ import annotations

import math

from pretrain.config import Optimizer


def learning_rate(optimizer: Optimizer, step: int, steps: int) -> float:
    """Rate of update number `step` (0-based) of `steps`."""
    if step < optimizer.warmup:
        return optimizer.lr * (step + 1) / optimizer.warmup
    progress = (step - optimizer.warmup) / max(1, steps - optimizer.warmup)
    return optimizer.lr_min + (optimizer.lr - optimizer.lr_min) * (1 + math.cos(math.pi * progress)) / 2
