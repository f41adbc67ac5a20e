"""Questions on pictures, answered from a closed list (paper 4.1, xGQA; component C)."""

from __future__ import annotations

from pretrain.tasks.base import SumTask


class Answering(SumTask):
    """Binary cross-entropy of every answer on [MM_CLS], summed over the answers of a question."""

    name = classified = 'answering'
    exclusive = False
