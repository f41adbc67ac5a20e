"""Translation with a picture (paper 4.1, Multi30k; component B): mMMT without masks."""
from __future__ import annotations

from pretrain.tasks.base import SumTask


class Translation(SumTask):
    """Cross-entropy on every token that the decoder writes."""

    name = written = 'translation'
