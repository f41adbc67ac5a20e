"""MT, machine translation (paper 3.2.7; component B; OPUS)."""
from __future__ import annotations

from pretrain.tasks.base import SumTask


class MT(SumTask):
    """Cross-entropy on every token that the decoder writes."""

    name = written = 'mt'
