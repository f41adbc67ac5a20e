"""FLOPs of the matrix products that a step's samples need, from their lengths: what utilisation is measured by.

Only what the model asks for is counted: no padding, no idle tokens, nothing that is computed twice (model.recompute, gradient caching), and
not the products of contrastive features with one another, a few millionths of it. A product of (m, k) and (k, n) has 2 m k n; the
backward has two products for each of the forward.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from pretrain.data.batch import TaskBatch
from pretrain.model.unix2 import UniX2
from pretrain.tasks import CONTRASTIVE

BACKWARD = 2  # products for one of the forward

# Dense peaks of boards in bf16, in TFLOP/s, by the beginning of the name that CUDA gives them; from NVIDIA's data sheets.
PEAKS = {
    'NVIDIA A100': 312.0, 'NVIDIA A800': 312.0, 'NVIDIA A40': 149.7, 'NVIDIA A30': 165.0, 'NVIDIA L40': 181.0,
    'NVIDIA H100 PCIe': 756.0, 'NVIDIA H100': 989.0, 'NVIDIA H200': 989.0, 'Tesla V100': 125.0,
}  # fmt: skip


def peak_flops(given: float | None, device: torch.device) -> float | None:
    """FLOP/s that `device` can do at most: `given` (TFLOP/s), else by its name, a CPU's as measured; None of a GPU without
    a known name.
    """
    if given is not None:
        return given * 1e12
    if device.type != 'cuda':
        return max(measured_flops(torch.float32), measured_flops(torch.bfloat16))
    name = torch.cuda.get_device_name(device)
    return next((tera * 1e12 for start, tera in PEAKS.items() if name.startswith(start)), None)


def measured_flops(dtype: torch.dtype, size: int = 1024) -> float:
    """FLOP/s of the fastest of three products of two square matrices on the CPU, with the threads that this process has: less than the
    best that it can do, where another process takes part of it. A tenth of a second or less on most machines.
    """
    one = torch.ones(size, size, dtype=dtype)
    small = one[:64, :64]
    torch.mm(small, small)  # what is set up once
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        torch.mm(one, one)
        seconds.append(time.perf_counter() - began)
    return 2 * size**3 / min(seconds)


class Flops:
    """Counts for one model."""

    def __init__(self, model: UniX2):
        config, visual = model.config, model.visual_encoder
        self.pooled_whole = config.text_pooling == 'mean'
        self.dim, self.vocabulary = config.dim, model.vocabulary
        self.projection = config.projection
        self.labels = config.labels
        self.text_layers, self.cross_layers, self.decoder_layers = config.text_layers, config.cross_layers, config.decoder_layers
        self.layer_weights = 4 * config.dim**2 + 2 * config.dim * config.ffn  # of attention and feed-forward
        self.visual_dim = int(visual.num_features)
        patch = visual.patch_embed
        self.states = 1 + int(patch.num_patches)  # of a picture
        weights = sum(module.weight.numel() for module in visual.modules() if isinstance(module, nn.Linear))
        attention = 4 * self.states**2 * self.visual_dim * len(visual.blocks)
        # The pixels need no gradient: the patches' product has one of the two in the backward.
        self.pixels = 2 * patch.num_patches * patch.proj.weight.numel()
        self.picture = 2 * self.states * weights + attention

    def of(self, batches: Iterable[TaskBatch], spared: int = 0) -> int:
        """Forward and backward of micro-batches, whether they run together or one by one; so many of their pictures are not encoded, as
        another is the same."""
        return sum(self._batch(batch) for batch in batches) - spared * ((1 + BACKWARD) * self.picture + 2 * self.pixels)

    def _batch(self, batch: TaskBatch) -> int:
        pictures = 0 if batch.images is None else len(batch.images)
        forward = pictures * self.picture
        if batch.task in CONTRASTIVE:
            sides = [side.lengths for side in (batch.text, batch.other) if side is not None]
            forward += pictures * 2 * self.visual_dim * self.projection
            forward += sum(self._contrasted(lengths) for lengths in sides)
        else:
            forward += self._fused(batch, pictures)
        return (1 + BACKWARD) * forward + pictures * 2 * self.pixels

    def _stack(self, layers: int, lengths: Tensor) -> int:
        return layers * (2 * self.layer_weights * _sum(lengths) + 4 * self.dim * _sum(lengths * lengths))

    def _contrasted(self, lengths: Tensor) -> int:
        """The text encoder, whose last layer computes keys and values of all tokens, the rest for one token a row; and the projection."""
        rows, projected = len(lengths), 2 * len(lengths) * self.dim * self.projection
        if self.pooled_whole:
            return self._stack(self.text_layers, lengths) + projected
        keys = 2 * self.dim**2
        last = 2 * keys * _sum(lengths) + 2 * (self.layer_weights - keys) * rows + 4 * self.dim * _sum(lengths)
        return self._stack(self.text_layers - 1, lengths) + last + projected

    def _fused(self, batch: TaskBatch, pictures: int) -> int:
        lengths = batch.text.lengths
        stream = lengths + 1
        if pictures:
            assert batch.image_rows is not None
            stream = stream.index_add(0, batch.image_rows.cpu(), torch.full((pictures,), self.states))
        total = self._stack(self.text_layers, lengths) + self._stack(self.cross_layers, stream)
        total += pictures * self.states * 2 * self.visual_dim * self.dim
        if batch.decoder_input is not None:
            total += self._decoder(batch.decoder_input.lengths, stream)
        written = 0 if batch.labels is None else len(batch.labels)
        masked = 0 if batch.masked is None else len(batch.masked)
        total += 2 * self.dim * self.vocabulary * (written + masked) + 2 * self.dim**2 * masked
        if batch.match is not None:
            total += 2 * self.dim * len(batch)
        if batch.classes is not None:
            total += 2 * self.dim * (self.dim + (self.labels or 0)) * len(batch)
        return total

    def _decoder(self, lengths: Tensor, memory: Tensor) -> int:
        """Self-attention is counted as if no mask halved it, as torch's counter does."""
        queries, keys = 4 * self.dim**2, 4 * self.dim**2  # twice the weights: of queries and output; of keys and values
        cross = queries * _sum(lengths) + keys * _sum(memory) + 4 * self.dim * _sum(lengths * memory)
        return self._stack(self.decoder_layers, lengths) + self.decoder_layers * cross


def _sum(numbers: Tensor) -> int:
    return int(numbers.sum())
