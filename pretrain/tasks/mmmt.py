"""mMMT, masked multimodal machine translation (paper 3.2.8; components B and C; pictures with captions in two languages or more)."""
from __future__ import annotations

from pretrain.tasks.base import SumTask


class MMMT(SumTask):
    """Translation of a source whose tokens are partly `<mask>`, plus MLM on exactly those tokens, from one encoder pass. Two
    terms, each with its normaliser."""

    name = written = 'mmmt'
    masked = 'mmmt_masked'
