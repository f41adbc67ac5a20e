"""Translation of captions, fine-tuned (paper 4.1, Multi30k; component B; source, picture and target)."""

from __future__ import annotations

from pretrain.tasks.base import SumTask


class Translation(SumTask):
    """Cross-entropy on every token of the target: mMMT without masks."""

    name = written = 'translation'
