"""What a CPU needs differently from a GPU: derived here, so that there is one way of starting a run."""
from __future__ import annotations

import ctypes
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # glibc's malloc.h
MEGABYTE = 1 << 20


def attention_kernel(device: torch.device) -> AbstractContextManager[None]:
    """A context for training and evaluation on `device`.

    On a CPU the plain matrix products: the backward of PyTorch's blocked CPU kernel is several times slower than they are at captions'
    lengths (17 to 48 tokens). Elsewhere PyTorch chooses.
    """
    return sdpa_kernel(SDPBackend.MATH) if device.type == 'cpu' else nullcontext()


def plain_visual_attention(model: nn.Module, device: torch.device) -> None:
    """On a CPU, timm's attention in plain products: PyTorch's own plain path also looks for rows without a key, of which a ViT has none."""
    if device.type != 'cpu':
        return
    for module in model.modules():
        if hasattr(module, 'fused_attn'):
            module.fused_attn = False


def keep_memory(device: torch.device) -> None:
    """On a CPU, keep freed tensors' memory in the process: by default every larger one is given back to the system, and zeroed page by page
    on its return.
    """
    if device.type != 'cpu':
        return
    libc = ctypes.CDLL(None)
    if not hasattr(libc, 'mallopt'):  # not glibc
        return
    for option, megabytes in ((M_MMAP_THRESHOLD, 32), (M_TRIM_THRESHOLD, 2000), (M_TOP_PAD, 64)):
        libc.mallopt(option, megabytes * MEGABYTE)
