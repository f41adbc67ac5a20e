"""Contrastive losses over the global batch, and their gradient by feature (paper sections 3.2.1 and 3.2.2).

Features of the whole global batch are gathered without gradient; every rank takes the same loss over all of them and keeps the
gradient of its own features. A second pass (or the retained graph) carries that gradient into the towers. So the result is the
single-process gradient at any number of ranks and micro-batches, and no autograd runs through a collective.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain.config import Config


@dataclass(frozen=True)
class Contrast:
    """Settings of the loss; docs/method.md has the decisions."""

    ignore_duplicates: bool = False  # leave pairs off the diagonal that belong together out, rather than take them as positives
    factor: float = 0.5  # of the sum of both directions

    @staticmethod
    def of(config: Config) -> Contrast:
        return Contrast(config.task.duplicates == 'ignored', config.task.contrastive_factor)


DEFAULT = Contrast()


def contrastive_loss(
    x: Tensor, y: Tensor, scale: Tensor, positives: Tensor, bias: Tensor | None = None, contrast: Contrast = DEFAULT
) -> Tensor:
    """Softmax contrast, or with a `bias` the sigmoid one. x, y (N, D) unit vectors, fp32; scale, bias (1,); positives (N, N) bool with a
    true diagonal.

    Softmax: `factor` times the sum of both directions, each the mean over rows of the cross-entropy between softmax(scale * x @ y.T) and
    the uniform distribution over the row's positives; without duplicates it is plain InfoNCE. Sigmoid (SigLIP, arXiv 2303.15343):
    1/N sum over all pairs of -log sigmoid(z (scale x.y + bias)), z = 1 for positives, else -1.
    """
    logits = scale * x @ y.T
    extra = positives & ~torch.eye(len(x), dtype=torch.bool, device=x.device)
    if contrast.ignore_duplicates:
        positives = positives & ~extra
    target = positives.to(logits.dtype)
    if bias is not None:
        pairs = F.logsigmoid((2 * target - 1) * (logits + bias))
        return -(pairs.masked_fill(extra, 0) if contrast.ignore_duplicates else pairs).sum() / len(x)
    if contrast.ignore_duplicates:
        logits = logits.masked_fill(extra, torch.finfo(logits.dtype).min)
    forward = F.cross_entropy(logits, target / target.sum(1, keepdim=True))
    backward = F.cross_entropy(logits.T, target.T / target.T.sum(1, keepdim=True))
    return (forward + backward) * contrast.factor


def ranked_first(x: Tensor, y: Tensor, positives: Tensor) -> int:
    """How many of the 2N rows, x's among y's and y's among x's, have a positive as their nearest; of equally near ones the first counts.
    Arguments as `contrastive_loss` has them: by the scores alone, whatever the temperature."""
    scores = x @ y.T
    both = ((scores, positives), (scores.T, positives.T))
    return sum(int(belongs.gather(1, near.argmax(1, keepdim=True)).sum()) for near, belongs in both)


@dataclass(frozen=True)
class FeatureGradient:
    """The loss of the global batch with its gradient by every feature, by the scale, and by the bias where there is one."""

    loss: Tensor  # ()
    x: Tensor  # (N, D)
    y: Tensor  # (N, D)
    scale: Tensor  # (1,)
    bias: Tensor | None = None  # (1,)


def feature_gradient(
    x: Tensor, y: Tensor, scale: Tensor, positives: Tensor, bias: Tensor | None = None, contrast: Contrast = DEFAULT
) -> FeatureGradient:
    """`contrastive_loss` of detached features, and its gradients, in fp32."""
    leaves = [tensor.detach().float().requires_grad_() for tensor in (x, y, scale, bias) if tensor is not None]
    with torch.enable_grad():
        loss = contrastive_loss(leaves[0], leaves[1], leaves[2], positives, leaves[3] if bias is not None else None, contrast)
        grads = torch.autograd.grad(loss, leaves)
    return FeatureGradient(loss.detach(), *grads)


def linked(a: Tensor, b: Tensor) -> Tensor:
    """(N, M) bool: whether there is a k with a[i, k] and b[k, j]. Asks no device for a size, as a look-up in a table of pairs would."""
    return (a.bfloat16() @ b.bfloat16()) > 0


def same(a: Tensor, b: Tensor) -> Tensor:
    """(N, M) bool: a[i] == b[j]."""
    return a[:, None] == b[None]
