"""LayerNorm of an fp32 stream that gives the weights' precision (pretrain/model/transformer.py says why)."""

from __future__ import annotations

import importlib
from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from pretrain.kernels.registry import Backend, Place, anywhere, lacks_cuda, lacks_module

APEX = 'install NVIDIA apex with its CUDA extensions (docs/train.md)'

Norm = Callable[[Tensor, Tensor, Tensor, float], Tensor]  # x (…, D), weight (D,), bias (D,), eps -> (…, D) in the weights' precision


def plain(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    return F.layer_norm(x.float(), weight.shape, weight.float(), bias.float(), eps).to(weight.dtype)


def _apex() -> Norm:
    # Mixed: statistics in fp32, output in the precision of the weights, from an fp32 input: in one kernel what `plain` does in four.
    function = importlib.import_module('apex.normalization.fused_layer_norm').FusedLayerNormAffineMixedDtypesFunction

    def norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        return function.apply(x.float(), weight, bias, weight.shape, eps)

    return norm


def _lacks_apex(place: Place) -> str | None:
    return lacks_cuda(place) or lacks_module('apex.normalization.fused_layer_norm', APEX) or lacks_module('fused_layer_norm_cuda', APEX)


BACKENDS = [Backend('apex', _lacks_apex, _apex), Backend('torch', anywhere, lambda: plain)]
