"""Visual entailment: what follows from a picture (paper 4.1, XVNLI; component C)."""

from __future__ import annotations

from pretrain.tasks.base import SumTask


class Entailment(SumTask):
    """Cross-entropy of entailment, neutral and contradiction on [MM_CLS]."""

    name = classified = 'entailment'
