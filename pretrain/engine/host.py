"""What a CPU needs differently from a GPU: derived here, so that there is one way of starting a run."""

from __future__ import annotations

import ctypes
import os
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # glibc's malloc.h
MEGABYTE = 1 << 20
LONGEST_BUILD = 900  # seconds


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
            setattr(module, 'fused_attn', False)  # noqa: B010 - timm's, which type checkers do not know


def remove_stale_build_locks() -> list[Path]:
    """Remove the locks of compilers that were killed, on which PyTorch would wait for ever; what was removed.

    A lock of PyTorch's build of an extension is stale when it is older than any build takes.
    """
    folder = Path(os.environ.get('TORCH_EXTENSIONS_DIR', Path.home() / '.cache/torch_extensions'))
    stale = [lock for lock in folder.glob('**/lock') if lock.is_file() and time.time() - lock.stat().st_mtime > LONGEST_BUILD]
    for lock in stale:
        lock.unlink(missing_ok=True)
    return stale


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
