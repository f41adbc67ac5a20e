"""Captions of pictures (paper 4.1, MSCOCO and COCO-CN; component B): vPLM without a prefix."""
from __future__ import annotations

from pretrain.tasks.base import SumTask


class Captioning(SumTask):
    """Cross-entropy on every token that the decoder writes."""

    name = written = 'captioning'
