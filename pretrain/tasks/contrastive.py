"""Symmetric InfoNCE over the global batch, and its gradient by feature (paper sections 3.2.1 and 3.2.2).

Features of the whole global batch are gathered without gradient; every rank takes the same loss over all of them and keeps the
gradient of its own
features. A second pass (or the retained graph) carries that gradient into the towers. So the result is the single-process gradient
at any number of
ranks and micro-batches, and no autograd runs through a collective.
"""
from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


def contrastive_loss(x: Tensor, y: Tensor, scale: Tensor, positives: Tensor) -> Tensor:
    """Mean over both directions (x 1/2) of cross-entropy between softmax(scale * x @ y.T) and the uniform distribution over the
    row's positives.

    x, y (N, D) unit vectors, fp32; scale (1,); positives (N, N) bool with a true diagonal. With no duplicates this is plain InfoNCE.
    """
    logits = scale * x @ y.T
    target = positives.to(logits.dtype)
    forward = F.cross_entropy(logits, target / target.sum(1, keepdim=True))
    backward = F.cross_entropy(logits.T, target.T / target.T.sum(1, keepdim=True))
    return (forward + backward) / 2


@dataclass(frozen=True)
class FeatureGradient:
    """The loss of the global batch with its gradient by every feature and by the scale."""

    loss: Tensor  # ()
    x: Tensor  # (N, D)
    y: Tensor  # (N, D)
    scale: Tensor  # (1,)


def feature_gradient(x: Tensor, y: Tensor, scale: Tensor, positives: Tensor) -> FeatureGradient:
    """`contrastive_loss` of detached features, and its gradients."""
    leaves = [tensor.detach().float().requires_grad_() for tensor in (x, y, scale)]
    with torch.enable_grad():
        loss = contrastive_loss(leaves[0], leaves[1], leaves[2], positives)
        grads = torch.autograd.grad(loss, leaves)
    return FeatureGradient(loss.detach(), *grads)


def same(a: Tensor, b: Tensor) -> Tensor:
    """(N, M) bool: a[i] == b[j]."""
    return a[:, None] == b[None]
