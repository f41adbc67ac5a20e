"""Captioning, fine-tuned (paper 4.1, COCO and COCO-CN; component B; picture and caption)."""

from __future__ import annotations

from pretrain.tasks.base import SumTask


class Captioning(SumTask):
    """Cross-entropy on every token of the caption: vPLM without a prefix."""

    name = written = 'captioning'
