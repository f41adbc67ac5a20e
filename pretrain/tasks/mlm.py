"""MLM, masked language modelling, with the picture where there is one (paper 3.2.4; component C; CC3M, CC12M, WIT and CC100)."""
from __future__ import annotations

from pretrain.tasks.base import SumTask


class MLM(SumTask):
    """Cross-entropy on the masked tokens (15 %, of them 80/10/10)."""

    name = masked = 'mlm'
