"""vPLM, visual prefix language modelling: PLM given the picture; with T_p = 0 it is captioning (paper 3.2.6; component B; CC3M,
CC12M, WIT)."""
from __future__ import annotations

from pretrain.tasks.base import SumTask


class VPLM(SumTask):
    """Cross-entropy on every token that the decoder writes."""

    name = written = 'vplm'
