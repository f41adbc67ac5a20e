"""ITM, image-text matching: does the caption describe the picture? (paper 3.2.3; component C; CC3M, CC12M, WIT)."""
from __future__ import annotations

from pretrain.tasks.base import SumTask


class ITM(SumTask):
    """Binary cross-entropy on [MM_CLS]. Negatives are made with the batch (pretrain/data): the picture or the text of a matched
    pair is replaced."""

    name = matched = 'itm'
