"""The norm of many gradients at once, for clipping."""

from __future__ import annotations

import importlib
from collections.abc import Callable

import torch
from torch import Tensor

from pretrain.kernels.norm import APEX
from pretrain.kernels.registry import Backend, Place, anywhere, lacks_cuda, lacks_module

GradientNorm = Callable[[list[Tensor]], Tensor]  # fp32 gradients on one device, one at least -> (), their norm as one vector


def plain(gradients: list[Tensor]) -> Tensor:
    """PyTorch's multi-tensor norm."""
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))


def _apex() -> GradientNorm:
    applier = importlib.import_module('apex.multi_tensor_apply').multi_tensor_applier
    l2norm = importlib.import_module('amp_C').multi_tensor_l2norm

    def norm(gradients: list[Tensor]) -> Tensor:
        unused = torch.zeros(1, dtype=torch.int32, device=gradients[0].device)  # set where a gradient is not finite; the norm shows it
        return applier(l2norm, unused, [gradients], False)[0].squeeze(0)

    return norm


def _lacks_apex(place: Place) -> str | None:
    return lacks_cuda(place) or lacks_module('apex.multi_tensor_apply', APEX) or lacks_module('amp_C', APEX)


BACKENDS = [Backend('apex', _lacks_apex, _apex), Backend('torch', anywhere, lambda: plain)]
