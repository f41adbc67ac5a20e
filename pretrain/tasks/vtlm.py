"""VTLM, UC2's visual translation language modelling (arXiv 2104.00332, section 3.2; component C; pictures with captions in two languages
or more). Not one of the paper's eight tasks: configs/baselines/uc2.yaml trains it.
"""
from __future__ import annotations

from pretrain.tasks.base import SumTask


class VTLM(SumTask):
    """Cross-entropy on words masked in both captions of a picture, so that neither gives the other away."""

    name = masked = 'vtlm'
