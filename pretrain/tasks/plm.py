"""PLM, prefix language modelling: the encoder reads the first T_p tokens, the decoder writes the rest (paper 3.2.5; component B; CC100)."""
from __future__ import annotations

from pretrain.tasks.base import SumTask


class PLM(SumTask):
    """Cross-entropy on every token that the decoder writes."""

    name = written = 'plm'
