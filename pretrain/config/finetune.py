"""Settings of a fine-tuning, beside those that it shares with pre-training."""
from __future__ import annotations

from typing import Literal

from pydantic import Field

from pretrain.config.section import Section

Benchmark = Literal['xvnli', 'xgqa']


class FineTune(Section):
    benchmark: Benchmark = Field(description='what is learned')
    model: str = Field(description='folder of the run or export that it starts from')
    data: str = Field(description='folder of the benchmark, in its own layout')
    images: str | None = Field(None, description='folder of its pictures; none: DATA/images')
    classes: list[str] = Field(default_factory=list, description='names of the classes, in the order of their scores; the data has them')
    epochs: float = Field(10, gt=0, description='passes over the training set; `steps` follows from it, unless it is given')
    patience: int = Field(
        3, ge=0, description='evaluations on the development set without a better one after which the training ends; 0: it never does'
    )
