"""Settings of a fine-tuning, beside those that it shares with pre-training."""
from __future__ import annotations

from typing import Literal

from pydantic import Field

from pretrain.config.section import Section

Benchmark = Literal['multi30k-retrieval', 'xvnli', 'xgqa', 'multi30k-translation', 'coco', 'coco-cn']


class FineTune(Section):
    benchmark: Benchmark = Field(description='what is learned')
    model: str = Field(description='folder of the run or export that it starts from')
    data: str = Field(description='folder of the benchmark, in its own layout')
    images: str | None = Field(None, description='folder of its pictures, if not where its layout has them')
    languages: list[str] = Field(default_factory=lambda: ['en'], min_length=1, description='languages that are trained on')
    epochs: float = Field(10, gt=0, description='passes over the training set; `steps` follows from it, unless it is given')
    patience: int = Field(
        0, ge=0, description='evaluations on the development set without a better one after which the training ends; 0: it never does'
    )
